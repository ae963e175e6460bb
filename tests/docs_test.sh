#!/usr/bin/env bash
# bash docs_test.sh CMAKE BUILD: the target docs, made without a warning of Doxygen's, has every page and picture that its pages link.
set -euo pipefail
rm -rf "$2/docs/html"
"$1" --build "$2" --target docs
cd "$2/docs/html"
grep -q 'Two commands' index.html || { echo "FAILED: the front page is not the README" >&2; exit 1; }
failed=0
while read -r file; do
  [ -e "$file" ] || { echo "FAILED: no $file, which is linked in $(grep -l "\"$file[\"#]" -- *.html | head -3 | xargs)" >&2; failed=1; }
done < <(grep -oEh '(href|src)="[^"#:]+["#]' -- *.html | sed 's/.*="//; s/.$//' | sort -u)
exit $failed
