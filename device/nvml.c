#include "device/nvml.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From nvml.h, which not every toolkit brings. */
struct nvml_device;
enum { NVML_SUCCESS = 0, NVML_CLOCK_SM = 1, NVML_TEMPERATURE_GPU = 0 };

struct nvml {
	void *library;
	struct nvml_device *device;
	int (*init)(void);
	int (*shutdown)(void);
	int (*by_pci_id)(const char *id, struct nvml_device **device);
	int (*driver_version)(char *version, unsigned bytes);
	int (*clock)(struct nvml_device *device, unsigned kind, unsigned *mhz);
	int (*power)(struct nvml_device *device, unsigned *milliwatt);
	int (*temperature)(struct nvml_device *device, unsigned sensor, unsigned *celsius);
	int (*throttle)(struct nvml_device *device, unsigned long long *reasons);
};

/* Bits of the throttle query; idle (1) and clocks set by the user (2) hold nothing down. */
static const struct {
	unsigned long long bit;
	const char *name;
} reasons[] = {
        {0x4, "power_cap"},   {0x8, "hw_slowdown"}, {0x10, "sync_boost"},
        {0x20, "sw_thermal"}, {0x40, "hw_thermal"}, {0x80, "power_brake"},
};

static void load_functions(struct nvml *nvml)
{
	const struct {
		void *function; /* a pointer to the member */
		const char *name;
	} table[] = {
	        {&nvml->init, "nvmlInit_v2"},
	        {&nvml->shutdown, "nvmlShutdown"},
	        {&nvml->by_pci_id, "nvmlDeviceGetHandleByPciBusId_v2"},
	        {&nvml->driver_version, "nvmlSystemGetDriverVersion"},
	        {&nvml->clock, "nvmlDeviceGetClockInfo"},
	        {&nvml->power, "nvmlDeviceGetPowerUsage"},
	        {&nvml->temperature, "nvmlDeviceGetTemperature"},
	        {&nvml->throttle, "nvmlDeviceGetCurrentClocksThrottleReasons"},
	};
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		void *symbol = dlsym(nvml->library, table[i].name);
		memcpy(table[i].function, &symbol, sizeof symbol);
	}
}

struct nvml *nvml_open(const char *pci_bus_id)
{
	struct nvml *nvml = calloc(1, sizeof *nvml);
	if (!nvml)
		return NULL;
	nvml->library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!nvml->library)
		goto failed;
	load_functions(nvml);
	if (!nvml->init || !nvml->shutdown || !nvml->by_pci_id || nvml->init() != NVML_SUCCESS)
		goto failed;
	if (nvml->by_pci_id(pci_bus_id, &nvml->device) == NVML_SUCCESS)
		return nvml;
	nvml->shutdown();
failed:
	if (nvml->library)
		dlclose(nvml->library);
	free(nvml);
	return NULL;
}

void nvml_close(struct nvml **nvml)
{
	if (!*nvml)
		return;
	(*nvml)->shutdown();
	dlclose((*nvml)->library);
	free(*nvml);
	*nvml = NULL;
}

void nvml_driver_version(const struct nvml *nvml, char version[32])
{
	if (!nvml->driver_version || nvml->driver_version(version, 32) != NVML_SUCCESS)
		version[0] = '\0';
}

void nvml_read(const struct nvml *nvml, struct device_health *health)
{
	unsigned value;
	unsigned long long bits;
	if (nvml->clock && nvml->clock(nvml->device, NVML_CLOCK_SM, &value) == NVML_SUCCESS)
		health->sm_mhz = value;
	if (nvml->power && nvml->power(nvml->device, &value) == NVML_SUCCESS)
		health->watt = value * 1e-3;
	if (nvml->temperature &&
	    nvml->temperature(nvml->device, NVML_TEMPERATURE_GPU, &value) == NVML_SUCCESS)
		health->celsius = value;
	if (!nvml->throttle || nvml->throttle(nvml->device, &bits) != NVML_SUCCESS)
		return;
	size_t at = 0;
	health->throttle[0] = '\0';
	for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
		if ((bits & reasons[i].bit) && at < sizeof health->throttle)
			at += (size_t)snprintf(health->throttle + at, sizeof health->throttle - at,
			                       "%s%s", at ? "+" : "", reasons[i].name);
}
