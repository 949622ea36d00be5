/* Finds data races in kernels. Translation units with kernels are compiled with
 * -fsanitize=thread -g and linked, without that option, with this library, which takes the place
 * of libtsan. Order is CUDA's: sync_block() orders a block, sync_cluster() the blocks of a
 * cluster, a collective of all lanes a warp, arrive_last() the blocks that arrived before the last,
 * the end of a launch what comes after it. A dependent launch is ordered only from its grid_wait()
 * on: before that it may run at any time since the latest launch that is not dependent. A block of
 * a cluster that ends writes its shared memory: nobody may read it any more. The verdict does not
 * depend on the order in which threads happened to run; a location remembers its last write and two
 * reads, so that of many races some may go unnoticed. */
#ifndef DEVICE_RACE_H
#define DEVICE_RACE_H

#ifdef __cplusplus
extern "C" {
#endif

/* From begin to end, launches run on one worker and are watched. Begin forgets what was found
 * before. */
void race_begin(void);
void race_end(void);

/* Conflicting accesses so far. */
unsigned long race_count(void);

/* The latest distinct race: both accesses with source line, thread, block; "" when there was
 * none. */
const char *race_message(void);

#ifdef __cplusplus
}
#endif
#endif
