#include "model/row_launch.h"

#include "core/table.h"

enum status row_launch(struct device *device, const char *name, struct kase kase,
                       struct shape shape, const void *args)
{
	const struct kernel *kernel = kernel_find(name);
	const struct device_info *info = device_info(device);
	char text[CONFIG_TEXT];
	if (kernel->specialise)
		kernel->specialise(&shape, kase.value);
	const struct variant *v = table_lookup(kernel, info, kase.value, &shape, false);
	if (v && kernel->valid(&shape, kase.value, v->config.value, info))
		return device_launch(device, v->entry,
		                     kernel->grid(&shape, kase.value, v->config.value, info), args,
		                     kernel->args_bytes, (struct launch_options){0});
	params_format(kernel->fields, kernel->n_fields, kase.value, text);
	return fail(STATUS_UNSUPPORTED, "%s: %s cannot run here", name, text);
}
