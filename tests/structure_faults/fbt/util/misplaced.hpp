// There is no folder of this name.
#pragma once
