/* What the native targets share: reading the input, and a check that ends the process. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spargio.h"

#define CHECK(condition)                                                     \
    do {                                                                     \
        if (!(condition)) {                                                  \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);  \
            abort();                                                         \
        }                                                                    \
    } while (0)

/* The input, eaten from the front; zeros when it is used up. */
typedef struct {
    const uint8_t *at;
    size_t left;
} Input;

static inline void eat(Input *input, void *out, size_t size) {
    size_t count = size < input->left ? size : input->left;
    memset(out, 0, size);
    if (count > 0) memcpy(out, input->at, count);
    input->at += count;
    input->left -= count;
}

static inline uint8_t eat8(Input *input) {
    uint8_t value;
    eat(input, &value, sizeof value);
    return value;
}

static inline uint16_t eat16(Input *input) {
    uint16_t value;
    eat(input, &value, sizeof value);
    return value;
}

static inline uint32_t eat32(Input *input) {
    uint32_t value;
    eat(input, &value, sizeof value);
    return value;
}

static inline uint64_t eat64(Input *input) {
    uint64_t value;
    eat(input, &value, sizeof value);
    return value;
}

/* Memory of exactly this size, so that the sanitizer sees a byte too many; never NULL. */
static inline void *exactly(size_t size) {
    void *memory = calloc(1, size > 0 ? size : 1);
    CHECK(memory != NULL);
    return memory;
}

/* Text of the next bytes of the input, with its NUL. */
static inline char *eat_text(Input *input, size_t most) {
    size_t size = eat8(input);
    if (size > most) size = most;
    char *text = exactly(size + 1);
    eat(input, text, size);
    return text;
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
