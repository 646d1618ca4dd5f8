#!/bin/bash
# The version of the packages for what git describe says of HEAD: packaging/version.sh NAME. It is a number, also between two
# releases. What comes before a release sorts before it, what comes after it after it. Commits before any tag sort by time: by the day
# of the newest one (UTC), then by how many there are of that day.
set -euo pipefail
version=${1#v}
case "$version" in
[0-9]*.[0-9]*) ;;
*) # a commit's name can begin with a digit
    days=$(TZ=UTC git log --format=%cd --date=format-local:%Y%m%d 2>/dev/null || true)
    day=$(sort <<<"$days" | tail -n 1)
    count=$(grep -cx "${day:-none}" <<<"$days" || true)
    version=0.0.0~git${day:-$(date -u -d "@${SOURCE_DATE_EPOCH:-$(date +%s)}" +%Y%m%d)}.$count.$version
    ;;
esac
sed -E 's/-(alpha|beta|pre|rc)/~\1/; y/-_/++/' <<<"$version"
