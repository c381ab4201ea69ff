# Runs `-v` of the first candidate that is there, as containerd would pick it. Arguments: paths.
for path; do
    if [ -f "$path" ] && [ -x "$path" ]; then
        echo "$path"
        exec "$path" -v
    fi
done
