# cmake -DWAY=find_package|compiled|add_subdirectory|FetchContent -DFBT_SOURCE_DIR=... -DFBT_BINARY_DIR=... -DFBT_VERSION=... -DGENERATOR=...
#   -DCXX=... -DFLAGS=... -DBUILD=... -P test.cmake
# Builds and runs the consumer, from nothing, in the folder BUILD.
cmake_minimum_required(VERSION 3.24)

function(run)
  execute_process(COMMAND ${ARGV} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

file(REMOVE_RECURSE ${BUILD})
set(options -G ${GENERATOR} -DCMAKE_CXX_COMPILER=${CXX})
if(WAY STREQUAL find_package OR WAY STREQUAL compiled)
  run(${CMAKE_COMMAND} --install ${FBT_BINARY_DIR} --prefix ${BUILD}/installed)
  if(WAY STREQUAL compiled)  # by the flags of its library
    list(APPEND options "-DCMAKE_CXX_FLAGS=${FLAGS}")
  endif()
  list(APPEND options -DCMAKE_PREFIX_PATH=${BUILD}/installed -DFBT_VERSION=${FBT_VERSION} -DWAY=${WAY})
else()
  list(APPEND options -DFBT_SOURCE_DIR=${FBT_SOURCE_DIR} -DWAY=${WAY})
endif()
run(${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR} -B ${BUILD}/build ${options})
run(${CMAKE_COMMAND} --build ${BUILD}/build)
run(${BUILD}/build/consumer)
