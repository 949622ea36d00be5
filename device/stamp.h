/* What a block says of itself when launches are stamped, see struct launch_options: ns of the
 * device's clock. Readable by C, C++ and NVRTC. */
#ifndef DEVICE_STAMP_H
#define DEVICE_STAMP_H

struct stamp {
	unsigned long long begin, /* its first instruction */
	        ready,            /* behind the dependency wait */
	        end;              /* all its threads have stored what they had to */
};

#endif
