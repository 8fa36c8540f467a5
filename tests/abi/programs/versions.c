/* The options' init by its name: of this version, and as a program of 0.1 or 0.2 was linked with it. */
#include <dlfcn.h>

#include "check.h"

#undef spargio_runtime_options_init
int32_t first_init(spargio_runtime_options *options);
__asm__(".symver first_init,spargio_runtime_options_init@SPARGIO_0.1");

typedef int32_t (*init_function)(spargio_runtime_options *);

static void fills(init_function init, size_t size) {
    unsigned char room[sizeof(spargio_runtime_options) + 64];
    spargio_runtime_options *options = (void *)room;
    memset(room, 0xAA, sizeof room);
    CHECK_IS(init(options), SPARGIO_OK);
    CHECK(options->struct_size == size);
    for (size_t i = size; i < sizeof room; i++) CHECK(room[i] == 0xAA);
    CHECK_IS(spargio_runtime_options_check(options, NULL, 0), SPARGIO_OK);
}

int main(void) {
    init_function found;
    spargio_runtime_options options;
    char said[200];
    *(void **)&found = dlsym(RTLD_DEFAULT, "spargio_runtime_options_init");
    CHECK(found != NULL);
    fills(found, sizeof(spargio_runtime_options));
    fills(spargio_runtime_options_init, sizeof(spargio_runtime_options));
    fills(first_init, offsetof(spargio_runtime_options, blocked_threshold_ms));
    CHECK_IS(spargio_runtime_options_init(&options), SPARGIO_OK);
    options.blocked_threshold_ms = 0;
    CHECK_IS(spargio_runtime_options_check(&options, said, sizeof said), SPARGIO_E_INVALID);
    CHECK(strstr(said, "blocked_threshold_ms must be between 1 and 3600000, got 0") == said);
    CHECK(strcmp(spargio_strerror(SPARGIO_E_ERRNO(2)), "ENOENT: no such file or directory") == 0);
    return 0;
}
