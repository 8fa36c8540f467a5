// What the programs share: a check that says where it failed, and objects that are counted.
#pragma once

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <dirent.h>
#include <memory>
#include <string>
#include <thread>

#include <spargio.hpp>

#define CHECK(...)                                                                                 \
    do {                                                                                           \
        if (!(__VA_ARGS__)) {                                                                      \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #__VA_ARGS__);                 \
            std::exit(1);                                                                          \
        }                                                                                          \
    } while (0)

// Its objects must all be gone at the end: what a frame held was freed with it.
struct counted {
    static inline std::atomic<int> alive{0};
    counted() { alive++; }
    counted(const counted &) { alive++; }
    ~counted() { alive--; }
};

inline int open_descriptors() {
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder) != nullptr) count++;
    closedir(folder);
    return count;
}

inline spargio::options with_shards(int argc, char **argv) {
    spargio::options options;
    options.shards = argc > 1 ? static_cast<uint32_t>(std::atoi(argv[1])) : 2;
    return options;
}
