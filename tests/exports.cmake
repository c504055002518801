# SPDX-License-Identifier: MIT
#
# The shared library exports exactly what the headers declare and what src/portico.symbols lists:
# nothing internal, nothing forgotten, and nothing that came or went without a line in the list,
# which is what users are promised to find in later versions.
#
#   KIND      what LIBRARY is: elf, mach-o, or pe
#   TOOL      what shows its exports: nm, nm, or objdump or dumpbin

function(fail_unless_empty sentence)
    if(ARGN)
        list(JOIN ARGN " " names)
        message(SEND_ERROR "${sentence}: ${names}")
    endif()
endfunction()

# compare(NAME-OF-LIST NAME-OF-LIST what-to-say-of-the-first what-to-say-of-the-second)
function(compare left right only_left only_right)
    set(rest ${${left}})
    list(REMOVE_ITEM rest ${${right}})
    fail_unless_empty("${only_left}" ${rest})
    set(rest ${${right}})
    list(REMOVE_ITEM rest ${${left}})
    fail_unless_empty("${only_right}" ${rest})
endfunction()

# ---- What the headers declare ----

file(GLOB headers "${HEADERS}/*.h")
set(declared "")
foreach(header IN LISTS headers)
    file(READ "${header}" text)
    string(REGEX MATCHALL "PCO_API [^;(]*pco_[a-z0-9_]+\\(" declarations "${text}")
    foreach(declaration IN LISTS declarations)
        string(REGEX REPLACE "^.*[ *](pco_[a-z0-9_]+)\\($" "\\1" name "${declaration}")
        list(APPEND declared ${name})
    endforeach()
endforeach()
if(NOT declared)
    message(FATAL_ERROR "no declaration found below ${HEADERS}")
endif()

# ---- What the list says ----

file(STRINGS "${SYMBOLS}" listed)
set(sorted ${listed})
list(SORT sorted)
if(NOT listed STREQUAL sorted)
    message(SEND_ERROR "${SYMBOLS} is not sorted")
endif()

# ---- What the library exports ----

if(KIND STREQUAL "elf")
    set(arguments -P -g -D)
elseif(KIND STREQUAL "mach-o")
    set(arguments -P -g)
elseif(TOOL MATCHES "dumpbin")
    set(arguments /nologo /exports)
else()
    set(arguments -p)
endif()
execute_process(COMMAND "${TOOL}" ${arguments} "${LIBRARY}"
    OUTPUT_VARIABLE text COMMAND_ERROR_IS_FATAL ANY)

# Of each line that tells of an export, the name.
if(NOT KIND STREQUAL "pe")
    # "name type value size"; U is undefined, w and v are weak references. One _ is Mach-O's.
    set(line "(^|\n)_?([^ @\n]+)[^ \n]* [ABCDGRSTVW] [^\n]*")
elseif(TOOL MATCHES "dumpbin")
    # "ordinal hint address name", and what it stands for
    set(line "(\n) +[0-9]+ +[0-9A-F]+ [0-9A-F]+ ([^ \r\n]+)[^\n]*")
else()
    # "[number] name"; newer versions put more numbers between
    string(REGEX REPLACE "^.*\n\\[Ordinal/Name Pointer\\] Table" "" text "${text}")
    string(REGEX REPLACE "\n\n.*$" "\n" text "${text}")
    set(line "(\n)\t\\[ *[0-9]+\\][^\n]* ([^ \r\n]+)")
endif()
string(REGEX MATCHALL "${line}" lines "${text}")
set(exported "")
foreach(found IN LISTS lines)
    string(REGEX REPLACE "^${line}$" "\\2" name "${found}")
    list(APPEND exported ${name})
endforeach()

# The linker's own in every library of macOS's.
if(KIND STREQUAL "mach-o")
    list(REMOVE_ITEM exported __dso_handle _mh_dylib_header)
endif()

compare(declared listed
    "declared, but not in ${SYMBOLS} (where new functions get a line)"
    "in ${SYMBOLS}, but no header declares it (which breaks the programs that use it)")
compare(declared exported
    "declared, but ${LIBRARY} does not export it"
    "exported by ${LIBRARY}, but no header declares it")
list(LENGTH declared count)
message(STATUS "${count} functions declared, listed and exported")
