/* Options from a file: by the program, and by the environment, which stands above the program. */
#include <stdlib.h>
#include <unistd.h>

#include "check.h"

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static uint32_t shards_of(const spargio_runtime_options *options) {
    spargio_runtime rt = 0;
    uint32_t count = 0;
    CHECK_IS(spargio_runtime_start(options, &rt), SPARGIO_OK);
    CHECK_IS(spargio_runtime_shard_count(rt, &count), SPARGIO_OK);
    CHECK_IS(spargio_runtime_shutdown(rt, SPARGIO_FOREVER), SPARGIO_OK);
    return count;
}

int main(void) {
    char path[64], text[256] = "";
    snprintf(path, sizeof path, "/tmp/spargio-options-%d", (int)getpid());
    unsetenv("SPARGIO_OPTIONS_FILE");
    spargio_runtime_options options, before;
    CHECK_IS(spargio_runtime_options_init(&options), SPARGIO_OK);
    options.shards = 2;
    options.steal_budget = 9;
    before = options;
    CHECK_IS(spargio_runtime_options_load(&options, NULL, text, sizeof text), SPARGIO_OK);
    CHECK(memcmp(&options, &before, sizeof options) == 0); /* The environment names no file. */

    write_file(path, "shards = 3 # as tuned\nidle_strategy = yield\nmsg_ring = false\n");
    CHECK_IS(spargio_runtime_options_load(&options, path, NULL, 0), SPARGIO_OK);
    CHECK(options.shards == 3 && options.idle_strategy == SPARGIO_IDLE_YIELD);
    CHECK(options.flags == SPARGIO_RUNTIME_NO_MSG_RING && options.steal_budget == 9);
    CHECK(shards_of(&options) == 3);

    setenv("SPARGIO_OPTIONS_FILE", path, 1);
    CHECK(shards_of(&before) == 3); /* Above the program's 2. */
    CHECK(shards_of(NULL) == 3);
    spargio_runtime_options older = before;
    older.struct_size = offsetof(spargio_runtime_options, idle_strategy);
    CHECK_IS(spargio_runtime_options_load(&older, NULL, NULL, 0), SPARGIO_OK);
    CHECK(older.shards == 3 && older.idle_strategy == before.idle_strategy); /* No room for it. */

    write_file(path, "shards = 1\nsteal_budget = many\n");
    spargio_runtime rt = 0;
    before = options;
    CHECK_IS(spargio_runtime_options_load(&options, path, text, sizeof text), SPARGIO_E_INVALID);
    CHECK(strstr(text, path) && strstr(text, "line 2") && strstr(text, "\"many\""));
    CHECK(memcmp(&options, &before, sizeof options) == 0);
    CHECK_IS(spargio_runtime_start(&options, &rt), SPARGIO_E_INVALID);
    text[0] = 0;
    CHECK_IS(spargio_runtime_options_load(&options, NULL, text, sizeof text), SPARGIO_E_INVALID);
    CHECK(strstr(text, "line 2"));
    CHECK_IS(unlink(path), 0);
    CHECK_IS(spargio_runtime_options_load(&options, path, text, sizeof text), SPARGIO_E_INVALID);
    CHECK(strstr(text, "ENOENT: no such file or directory"));
    CHECK_IS(spargio_runtime_options_load(NULL, path, text, sizeof text), SPARGIO_E_INVALID);
    return 0;
}
