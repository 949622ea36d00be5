// C++20.
/* Put before a kernel's source, with WATCHED its name: the kernel does not wait while
 * without_wait_of is that name. */
#include <string.h>

#include "device/simt.h"

extern "C" const char *without_wait_of; /* NULL: all wait */

namespace simt
{

SIMT_FN void wait_if_asked()
{
	if (!without_wait_of || strcmp(without_wait_of, WATCHED))
		grid_wait();
}

} // namespace simt

#define grid_wait wait_if_asked
