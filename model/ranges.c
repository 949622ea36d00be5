#include "model/ranges.h"

#ifdef WARPSMITH_NVTX
#include <nvtx3/nvToolsExt.h>

static nvtxDomainHandle_t domain(void)
{
	static nvtxDomainHandle_t handle;
	if (!handle)
		handle = nvtxDomainCreateA("warpsmith");
	return handle;
}

void range_push(const char *name, uint64_t payload)
{
	nvtxEventAttributes_t event = {.version = NVTX_VERSION,
	                               .size = NVTX_EVENT_ATTRIB_STRUCT_SIZE,
	                               .messageType = NVTX_MESSAGE_TYPE_ASCII,
	                               .message.ascii = name,
	                               .payloadType = NVTX_PAYLOAD_TYPE_UNSIGNED_INT64,
	                               .payload.ullValue = payload};
	nvtxDomainRangePushEx(domain(), &event);
}

void range_pop(void)
{
	nvtxDomainRangePop(domain());
}

#else

void range_push(const char *name, uint64_t payload)
{
	(void)name;
	(void)payload;
}

void range_pop(void) {}

#endif
