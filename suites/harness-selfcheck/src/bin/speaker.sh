#!/bin/sh
# Prints its argument, sequences that try to control a terminal or a browser, and a token where the
# runtime splits long lines; then keeps running.
printf '%s\n' "$1"
printf '\033[31mred\033[0m\033]0;title\007 <script>alert(1)</script>\n'
head -c 16370 /dev/zero | tr '\0' x
echo " eyJhbGciOiJSUzI1NiJ9.eyJwbGFudGVkIjoiand0In0.c2lnbmF0dXJlLW9m"
exec sleep 600
