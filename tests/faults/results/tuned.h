/* No rows: mutated kernels are compiled with their default configurations alone. */
#define TUNED_DEVICES_HOST(X, K)
#define TUNED_DEVICES_HOST32(X, K)
#define TUNED_DEVICES_CUDA(X, K)
