# SPDX-License-Identifier: MIT
#
# The shared library exports exactly what the headers declare: nothing internal, nothing forgotten.

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
list(SORT declared)

execute_process(COMMAND "${NM}" -P -g -D "${LIBRARY}" OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
# Lines are "name type value size"; U is undefined, w and v are weak references.
string(REGEX MATCHALL "[^\n ]+ [ABCDGRSTVW] [^\n]*" symbols "${symbols}")
set(exported "")
foreach(symbol IN LISTS symbols)
    string(REGEX REPLACE "^_?([^ @]+).*$" "\\1" name "${symbol}")
    list(APPEND exported ${name})
endforeach()
list(SORT exported)

set(forgotten ${declared})
list(REMOVE_ITEM forgotten ${exported})
set(internal ${exported})
list(REMOVE_ITEM internal ${declared})
list(LENGTH declared count)
if(count EQUAL 0 OR forgotten OR internal)
    message(FATAL_ERROR "${count} declared; not exported: ${forgotten}; not declared: ${internal}")
endif()
message(STATUS "${count} functions declared and exported")
