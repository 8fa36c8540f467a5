// Reads a statistics snapshot with libcbor (Debian: libcbor-dev).
// c++ -std=c++17 stats_libcbor.cpp $(pkg-config --cflags --libs spargio libcbor)
#include <cbor.h>

#include <cstdint>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "spargio.h"

static void check(std::int32_t result) {
    if (result < 0) throw std::runtime_error(spargio_strerror(result));
}

static std::vector<std::uint8_t> snapshot(spargio_runtime runtime) {
    std::size_t size = 0;
    if (spargio_stats_cbor(runtime, nullptr, 0, &size) != SPARGIO_E_BUFFER)
        throw std::runtime_error("no snapshot");
    std::vector<std::uint8_t> bytes(size);
    check(spargio_stats_cbor(runtime, bytes.data(), bytes.size(), &size));
    bytes.resize(size);
    return bytes;
}

// The numbers of the map "total".
static std::map<std::string, std::uint64_t> total(const std::vector<std::uint8_t> &bytes) {
    cbor_load_result result;
    cbor_item_t *root = cbor_load(bytes.data(), bytes.size(), &result);
    if (root == nullptr || !cbor_isa_map(root)) throw std::runtime_error("not a CBOR map");
    std::map<std::string, std::uint64_t> numbers;
    const auto name = [](const cbor_pair &pair) {
        return std::string(reinterpret_cast<const char *>(cbor_string_handle(pair.key)),
                           cbor_string_length(pair.key));
    };
    for (std::size_t i = 0; i < cbor_map_size(root); ++i) {
        const cbor_pair &entry = cbor_map_handle(root)[i];
        if (name(entry) != "total") continue;
        for (std::size_t k = 0; k < cbor_map_size(entry.value); ++k) {
            const cbor_pair &counter = cbor_map_handle(entry.value)[k];
            if (cbor_isa_uint(counter.value)) numbers[name(counter)] = cbor_get_int(counter.value);
        }
    }
    cbor_decref(&root);
    return numbers;
}

static double ratio(std::uint64_t part, std::uint64_t whole) {
    return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

int main() {
    spargio_runtime runtime = 0;
    check(spargio_runtime_start(nullptr, &runtime));
    const auto nothing = [](void *, std::int64_t *) -> std::int32_t { return SPARGIO_READY; };
    std::vector<spargio_join> joins(1000);
    for (auto &join : joins) check(spargio_spawn(runtime, nullptr, nothing, nullptr, &join));
    for (auto join : joins) {
        check(spargio_join_wait(join, SPARGIO_FOREVER, nullptr));
        spargio_join_release(join);
    }
    auto numbers = total(snapshot(runtime));
    for (const char *key : {"stealable_executed", "stealable_stolen", "steal_scans", "parks"})
        std::cout << key << ' ' << numbers.at(key) << '\n';
    std::cout << "local_hit_ratio "
              << ratio(numbers.at("stealable_local_hits"), numbers.at("stealable_executed")) << '\n';
    check(spargio_runtime_shutdown(runtime, SPARGIO_FOREVER));
}
