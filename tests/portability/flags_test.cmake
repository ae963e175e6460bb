# cmake -DCXX=... -DFLAGS=... -DINCLUDES=... -DUNDER=... -DNAMED=... -DBUILD=... -P flags_test.cmake
# Compiles and runs arithmetic.cpp under further flags. Its numbers have to be right, or an error of the library has to name
# what is at fault.
cmake_minimum_required(VERSION 3.24)

separate_arguments(flags UNIX_COMMAND "${FLAGS} ${UNDER}")
list(REMOVE_ITEM INCLUDES "")
list(TRANSFORM INCLUDES PREPEND -I)
file(MAKE_DIRECTORY ${BUILD})
execute_process(COMMAND ${CXX} -std=c++20 ${flags} -Wfatal-errors -pthread -DFMT_HEADER_ONLY ${INCLUDES}
  ${CMAKE_CURRENT_LIST_DIR}/arithmetic.cpp -o ${BUILD}/arithmetic RESULT_VARIABLE failed ERROR_VARIABLE messages)
if(failed)
  if(NOT messages MATCHES "((#error|static assertion|static_assert)[^\n]*fbt|error: fbt: )[^\n]*${NAMED}")
    message(FATAL_ERROR "${UNDER}: expected the program, or an error that names ${NAMED}, found\n${messages}")
  endif()
  message("${UNDER}: refused by name")
else()
  execute_process(COMMAND ${BUILD}/arithmetic COMMAND_ERROR_IS_FATAL ANY)
  message("${UNDER}: right")
endif()
