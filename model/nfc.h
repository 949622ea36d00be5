/* Unicode normalisation form C in time proportional to the text. */
#ifndef MODEL_NFC_H
#define MODEL_NFC_H

#include <stddef.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* `text` is valid UTF-8. *normal is to be freed by the caller. */
MUST_CHECK enum status nfc_normalize(const char *text, size_t len, char **normal,
                                     size_t *normal_len);

#ifdef __cplusplus
}
#endif
#endif
