// May define macros, but only with names of fbt.
#pragma once

#define FBT_FINE 1
#define FBT_ALSO_FINE
#define FAULT 1
