#include "model/cache.h"

#include <stdlib.h>

#include "core/dtype.h"

/* Bytes of n elements in plane p. */
static size_t plane_bytes(int dtype, int p, size_t n)
{
	return dtype_plane_offset(dtype, p + 1, n) - dtype_plane_offset(dtype, p, n);
}

/* Where plane p of a matrix of `count` has element `first`. */
static size_t plane_at(int dtype, int p, size_t count, size_t first)
{
	return dtype_plane_offset(dtype, p, count) + plane_bytes(dtype, p, first);
}

/* Memory for n elements as a matrix of their own. */
static enum status open_part(int dtype, size_t n, unsigned char **part)
{
	*part = malloc(dtype_bytes(dtype, n) + 1);
	return *part ? STATUS_OK
	             : fail(STATUS_NO_MEMORY, "out of host memory for %zu elements of a cache", n);
}

enum status cache_write(struct device *device, int dtype, void *cache, size_t count, size_t first,
                        const void *rows, size_t n)
{
	enum status status;
	unsigned char *part = NULL;
	TRY(open_part(dtype, n, &part));
	dtype_pack(dtype, rows, part, n);
	for (int p = 0; p < DTYPE_PLANES; p++)
		TRY(device_write(device, (unsigned char *)cache + plane_at(dtype, p, count, first),
		                 part + plane_at(dtype, p, n, 0), plane_bytes(dtype, p, n)));
done:
	free(part);
	return status;
}

enum status cache_read(struct device *device, int dtype, const void *cache, size_t count,
                       size_t first, void *rows, size_t n)
{
	enum status status;
	unsigned char *part = NULL;
	TRY(open_part(dtype, n, &part));
	for (int p = 0; p < DTYPE_PLANES; p++)
		TRY(device_read(device, part + plane_at(dtype, p, n, 0),
		                (const unsigned char *)cache + plane_at(dtype, p, count, first),
		                plane_bytes(dtype, p, n)));
	dtype_unpack_part(dtype, part, n, 0, n, rows);
done:
	free(part);
	return status;
}
