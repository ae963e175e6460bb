// Only io has a folder inside it.
#pragma once
