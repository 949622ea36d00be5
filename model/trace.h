/* --trace: what the attention kernel says it did, held against what the host knows it should have
 * done. */
#ifndef MODEL_TRACE_H
#define MODEL_TRACE_H

#include <stdbool.h>
#include <stdio.h>

#include "model/decoder.h"

struct trace {
	FILE *csv;
	bool *layers_printed,
	        *heads_printed; /* what is printed; all layers and heads are checked */
	int forward;            /* number of this step */
	int position;           /* where the host expects it */
	int token, repeated;
	struct attention_head_trace *heads;   /* (heads) of the latest attention */
	struct attention_split_trace *splits; /* (heads, n_splits) likewise */
	char *rows, *row_end; /* CSV of what is printed of a step, but for its last column */
	float *output,
	        *previous; /* (layers, heads * head_dim) of this step's attentions and the last's */
	float *logits;     /* (vocab) of this step */
	enum status found; /* STATUS_VIOLATION after the first violation of a step; its message is
	                      kept */
	char message[256];
};

/* `layers` and `heads` are lists of what is to be printed, "0,3-5"; NULL: all. Writes the CSV's
 * header. */
MUST_CHECK enum status trace_open(const struct decoder *decoder, const char *layers,
                                  const char *heads, FILE *csv, struct trace *trace);
void trace_close(struct trace *trace);
struct observer trace_observer(struct trace *trace);

#endif
