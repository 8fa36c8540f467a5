/* Runs a native target over files, if there is no libFuzzer. */
#include "fuzz.h"

int main(int argc, char **argv) {
    LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        CHECK(file != NULL);
        uint8_t *data = malloc(1 << 20);
        size_t size = fread(data, 1, 1 << 20, file);
        fclose(file);
        uint8_t *own = exactly(size);
        memcpy(own, data, size);
        free(data);
        fprintf(stderr, "%s\n", argv[i]);
        LLVMFuzzerTestOneInput(own, size);
        free(own);
    }
    printf("replayed %d\n", argc - 1);
    return 0;
}
