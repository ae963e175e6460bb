// The version of fbt; CMake reads it from here.
#pragma once

#define FBT_VERSION_MAJOR 0
#define FBT_VERSION_MINOR 1
#define FBT_VERSION_PATCH 0
