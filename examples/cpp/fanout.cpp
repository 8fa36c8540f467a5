// Fan-out and fan-in from C++17: handles that release themselves, one task per number.
// c++ -std=c++17 fanout.cpp $(pkg-config --cflags --libs spargio)
#include <cstdint>
#include <iostream>
#include <stdexcept>
#include <utility>
#include <vector>

#include "spargio.h"

static void check(std::int32_t result) {
    if (result < 0) throw std::runtime_error(spargio_strerror(result));
}

class Join {
public:
    explicit Join(spargio_join handle) : handle_(handle) {}
    Join(Join &&other) noexcept : handle_(std::exchange(other.handle_, 0)) {}
    Join(const Join &) = delete;
    Join &operator=(const Join &) = delete;
    Join &operator=(Join &&) = delete;
    ~Join() {
        if (handle_ != 0) spargio_join_release(handle_);
    }

    std::int64_t wait() const {
        std::int64_t result = 0;
        check(spargio_join_wait(handle_, SPARGIO_FOREVER, &result));
        return result;
    }

private:
    spargio_join handle_;
};

class Runtime {
public:
    Runtime() { check(spargio_runtime_start(nullptr, &handle_)); }
    Runtime(const Runtime &) = delete;
    Runtime &operator=(const Runtime &) = delete;
    ~Runtime() { spargio_runtime_shutdown(handle_, SPARGIO_FOREVER); }

    Join spawn(spargio_poll_fn poll, void *ctx) {
        spargio_join join = 0;
        check(spargio_spawn(handle_, nullptr, poll, ctx, &join));
        return Join(join);
    }

private:
    spargio_runtime handle_ = 0;
};

int main() {
    Runtime runtime;
    std::vector<std::int64_t> numbers(100);
    std::vector<Join> joins;
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        numbers[i] = static_cast<std::int64_t>(i);
        joins.push_back(runtime.spawn(
            [](void *ctx, std::int64_t *result) -> std::int32_t {
                const auto n = *static_cast<std::int64_t *>(ctx);
                *result = n * n;
                return SPARGIO_READY;
            },
            &numbers[i]));
    }
    std::int64_t sum = 0;
    for (const Join &join : joins) sum += join.wait();
    std::cout << "sum of squares 0..99: " << sum << '\n';
}
