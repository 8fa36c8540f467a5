/* argv: a shared object that has spargio in it. It is unloaded after a runtime, and while one runs; then the
   program forks, and loads it again. */
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static const char *path;

static void *find(void *library, const char *name) {
    void *found = dlsym(library, name);
    CHECK(found != NULL);
    return found;
}

static void *load(void) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) fprintf(stderr, "%s\n", dlerror());
    CHECK(library != NULL);
    return library;
}

static void forks(void) {
    int status;
    pid_t child = fork();
    if (child == 0) _exit(0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static spargio_runtime starts(void *library) {
    int32_t (*start)(const spargio_runtime_options *, spargio_runtime *);
    spargio_runtime runtime = 0;
    *(void **)&start = find(library, "spargio_runtime_start");
    CHECK(start(NULL, &runtime) == SPARGIO_OK);
    return runtime;
}

static void ends(void *library, spargio_runtime runtime) {
    int32_t (*shutdown)(spargio_runtime, uint64_t);
    *(void **)&shutdown = find(library, "spargio_runtime_shutdown");
    CHECK(shutdown(runtime, SPARGIO_FOREVER) == SPARGIO_OK);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    path = argv[1];
    for (int round = 0; round < 2; round++) {
        void *library = load();
        ends(library, starts(library));
        CHECK(dlclose(library) == 0);
        forks();
        library = load();
        spargio_runtime runtime = starts(library);
        CHECK(dlclose(library) == 0);
        forks();
        library = load();
        ends(library, runtime);
        CHECK(dlclose(library) == 0);
    }
    return 0;
}
