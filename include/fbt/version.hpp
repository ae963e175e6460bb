// The version of fbt; CMake reads it from here.
#pragma once

#define FBT_VERSION_MAJOR 0
#define FBT_VERSION_MINOR 2
#define FBT_VERSION_PATCH 0
