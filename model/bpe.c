#include "model/bpe.h"

#include <stdbool.h>
#include <stdlib.h>

struct bpe_merge {
	int32_t left, right; /* left is -1 in an empty slot */
	uint32_t rank;
	int32_t merged;
};

enum status bpe_open(struct bpe *bpe, size_t n)
{
	size_t slots = 2;
	while (slots < 2 * n)
		slots *= 2;
	bpe->merges = malloc(slots * sizeof *bpe->merges);
	if (!bpe->merges)
		return fail(STATUS_NO_MEMORY, "out of memory for %zu merges", n);
	bpe->mask = slots - 1;
	for (size_t i = 0; i < slots; i++)
		bpe->merges[i].left = -1;
	return STATUS_OK;
}

void bpe_close(struct bpe *bpe)
{
	free(bpe->merges);
	*bpe = (struct bpe){0};
}

/* The slot of a pair, or the empty one where it belongs. Multiplicative hash, 2^64 / golden ratio.
 */
static struct bpe_merge *slot_of(const struct bpe *bpe, int32_t left, int32_t right)
{
	uint64_t hash = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15;
	size_t i = (size_t)(hash ^ hash >> 32) & bpe->mask;
	while (bpe->merges[i].left >= 0 &&
	       (bpe->merges[i].left != left || bpe->merges[i].right != right))
		i = (i + 1) & bpe->mask;
	return &bpe->merges[i];
}

void bpe_add(struct bpe *bpe, int32_t left, int32_t right, uint32_t rank, int32_t merged)
{
	struct bpe_merge *slot = slot_of(bpe, left, right);
	if (slot->left < 0)
		*slot = (struct bpe_merge){left, right, rank, merged};
}

void bpe_scratch_free(struct bpe_scratch *scratch)
{
	free(scratch->prev);
	free(scratch->next);
	free(scratch->heap);
	*scratch = (struct bpe_scratch){0};
}

/* A piece of n tokens has n - 1 pairs, and each of up to n - 1 merges makes two new ones. */
static enum status reserve(struct bpe_scratch *s, size_t n)
{
	if (n <= s->capacity)
		return STATUS_OK;
	size_t capacity = n < 64 ? 64 : 2 * n;
	bpe_scratch_free(s);
	s->prev = malloc(capacity * sizeof *s->prev);
	s->next = malloc(capacity * sizeof *s->next);
	s->heap = malloc(capacity * 3 * sizeof *s->heap);
	if (!s->prev || !s->next || !s->heap) {
		bpe_scratch_free(s);
		return fail(STATUS_NO_MEMORY, "out of memory to merge %zu tokens", n);
	}
	s->capacity = capacity;
	return STATUS_OK;
}

/* Binary heap, smallest first, of rank << 32 | position of the left token. */
static void heap_push(uint64_t *heap, size_t *n, uint64_t entry)
{
	size_t i = (*n)++;
	for (; i && heap[(i - 1) / 2] > entry; i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = entry;
}

static uint64_t heap_pop(uint64_t *heap, size_t *n)
{
	uint64_t top = heap[0], last = heap[--*n];
	size_t i = 0;
	for (size_t child; (child = 2 * i + 1) < *n; i = child) {
		if (child + 1 < *n && heap[child + 1] < heap[child])
			child++;
		if (heap[child] >= last)
			break;
		heap[i] = heap[child];
	}
	heap[i] = last;
	return top;
}

/* Notes the pair that starts at `left`, if there is one and it can merge. */
static void push_pair(const struct bpe *bpe, struct bpe_scratch *s, const int32_t *ids, uint32_t n,
                      uint32_t left, size_t *n_heap)
{
	if (left >= n || s->next[left] == n)
		return;
	const struct bpe_merge *m = slot_of(bpe, ids[left], ids[s->next[left]]);
	if (m->left >= 0)
		heap_push(s->heap, n_heap, (uint64_t)m->rank << 32 | left);
}

/* Merges the pair at `left`, unless an earlier merge changed it so that `rank` is no longer its
 * rank. */
static bool merge_pair(const struct bpe *bpe, struct bpe_scratch *s, int32_t *ids, uint32_t n,
                       uint32_t left, uint64_t rank)
{
	uint32_t right = s->next[left];
	if (ids[left] < 0 || right == n)
		return false;
	const struct bpe_merge *m = slot_of(bpe, ids[left], ids[right]);
	if (m->left < 0 || m->rank != rank)
		return false;
	ids[left] = m->merged;
	ids[right] = -1;
	s->next[left] = s->next[right];
	if (s->next[left] != n)
		s->prev[s->next[left]] = left;
	return true;
}

enum status bpe_merge(const struct bpe *bpe, struct bpe_scratch *s, int32_t *ids, size_t *n_ids)
{
	const uint32_t n = (uint32_t)*n_ids;
	size_t n_heap = 0, kept = 0;
	enum status status;
	TRY(reserve(s, n));
	for (uint32_t i = 0; i < n; i++) {
		s->prev[i] = i - 1;
		s->next[i] = i + 1;
	}
	for (uint32_t i = 0; i < n; i++)
		push_pair(bpe, s, ids, n, i, &n_heap);
	while (n_heap) {
		uint64_t entry = heap_pop(s->heap, &n_heap);
		uint32_t left = (uint32_t)entry;
		if (merge_pair(bpe, s, ids, n, left, entry >> 32)) {
			push_pair(bpe, s, ids, n, s->prev[left], &n_heap);
			push_pair(bpe, s, ids, n, left, &n_heap);
		}
	}
	for (uint32_t i = 0; i < n; i = s->next[i])
		ids[kept++] = ids[i];
	*n_ids = kept;
done:
	return status;
}
