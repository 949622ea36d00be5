/* Clock, power, temperature and throttle reasons of one GPU through the driver's management
 * library, loaded when asked for. Drivers in containers and virtual machines answer some queries or
 * none. */
#ifndef DEVICE_NVML_H
#define DEVICE_NVML_H

#include "device/device.h"

struct nvml;

/* The GPU with this PCI id ("0000:17:00.0"); NULL when the library is missing or does not know it.
 */
struct nvml *nvml_open(const char *pci_bus_id);
void nvml_close(struct nvml **nvml);

/* "580.65.06"; "" when unanswered. */
void nvml_driver_version(const struct nvml *nvml, char version[32]);

/* Sets what the library answers and leaves the rest. `throttle` names what holds the clock down,
 * joined by "+"; "" when nothing does. */
void nvml_read(const struct nvml *nvml, struct device_health *health);

#endif
