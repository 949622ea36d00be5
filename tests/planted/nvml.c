/* A management library with one GPU, which knows its clock and what holds it down but not its
 * power. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6 };

static int gpu;
int nvml_users;

int nvmlInit_v2(void);
int nvmlInit_v2(void)
{
	nvml_users++;
	return SUCCESS;
}

int nvmlShutdown(void);
int nvmlShutdown(void)
{
	nvml_users--;
	return SUCCESS;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **device);
int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **device)
{
	*device = &gpu;
	return strcmp(id, "0000:17:00.0") ? NOT_FOUND : SUCCESS;
}

int nvmlSystemGetDriverVersion(char *version, unsigned bytes);
int nvmlSystemGetDriverVersion(char *version, unsigned bytes)
{
	snprintf(version, bytes, "580.65.06");
	return SUCCESS;
}

int nvmlDeviceGetClockInfo(void *device, unsigned kind, unsigned *mhz);
int nvmlDeviceGetClockInfo(void *device, unsigned kind, unsigned *mhz)
{
	*mhz = 1980;
	return device == &gpu && kind == 1 ? SUCCESS : NOT_SUPPORTED;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatt);
int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatt)
{
	(void)device;
	*milliwatt = 12345;
	return NOT_SUPPORTED;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons);
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons)
{
	*reasons = 0x1 | 0x4 | 0x40;
	return device == &gpu ? SUCCESS : NOT_SUPPORTED;
}
