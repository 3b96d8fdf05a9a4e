#!/bin/sh
#
# How much of the decisions the unit tests reach: builds each unit named at the end of this file with gcov, runs for it
# the tests that are about it, and prints lines and branches. Fails where a branch was never taken, and names it.
#
# usage: coverage.sh [DIRECTORY]      the directory for build products, build/coverage by default

set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
dir=${1:-$root/build/coverage}
status=0

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

# At -O0, where a branch of the program is a branch of the source.
compile() {
    ${CC:-gcc} -std=gnu11 -g -O0 -I"$root/common" -I"$root/tests/unit" $(pkg-config --cflags libcjson) "$@"
}

ldflags() {
    sed -n 's,^/\* LDFLAGS: \(.*\) \*/$,\1,p' "$1"
}

# The unit, and its tests. The measured file alone is instrumented; the rest of the library comes along as it is.
measure() {
    name=$1
    shift
    work=$dir/$name

    rm -rf "$work"
    mkdir -p "$work"
    cd "$work"

    for source in error str utf8 resource time json refusal job answer policy budget sf limits form rotation breaker \
        witness allowance connection negotiation event_stream exposition; do
        flags=
        [ "$source" = "$name" ] && flags=--coverage
        compile $flags -c -o "ais_$source.o" "$root/common/ais_$source.c"
    done

    # an archive, as the library is: its calls of calloc can be wrapped
    ar rcs lib.a ais_*.o
    for about; do
        test=$root/tests/unit/test_$about.c
        compile -o test "$test" $(ldflags "$test") lib.a --coverage $(pkg-config --libs libcjson) -lcmocka
        ./test > test.log 2>&1 || { cat test.log; return 1; }
    done

    ${GCOV:-gcov} -b -c "ais_$name.gcno" > summary
    report=ais_$name.c.gcov
    printf 'ais_%s.c: ' "$name"
    awk '
        /^ *#####:/ { missed = missed "\n" $0 }
        /^ *[0-9]+\*?:/ || /^ *#####:/ { lines++; if ($1 !~ /^#####/) hit++; line = $0 }
        /^branch/ {
            branches++
            if (/never executed/ || / taken 0( |$)/) missed = missed "\n" line "\n    " $0
            else taken++
        }
        END {
            printf "%d of %d lines, %d of %d branches%s\n", hit, lines, taken, branches, missed
            exit !(lines > 0 && branches > 0 && missed == "")
        }
    ' "$report"
}

for name in str utf8 resource refusal job policy sf limits form rotation breaker witness allowance \
    connection negotiation event_stream exposition; do
    (measure "$name" "$name") || status=1
done
(measure answer answer answer_error answer_instance) || status=1
(measure budget budget budget_limits budget_reload budget_part) || status=1

exit $status
