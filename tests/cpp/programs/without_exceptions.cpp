// The header without exceptions and type information: every error is a result.
#include "check.hpp"

using namespace spargio;
using namespace std::chrono_literals;

namespace {

task<result<int>> refused() {
    auto stream = co_await tcp_stream::connect("127.0.0.1", 1);
    if (!stream) co_return failure(stream.error());
    co_return 0;
}

task<result<void>> forever() {
    auto slept = co_await sleep_for(1h);
    if (!slept) co_return failure(slept.error());
    co_return result<void>();
}

task<int> several() {
    auto [one, two] = co_await when_all(refused(), timeout(1ms, forever()));
    CHECK(one.error() == std::errc::connection_refused);
    CHECK(two.error() == errc::timeout);
    auto first = co_await when_any(forever(), refused());
    CHECK(first.index() == 1);
    co_return 1;
}

} // namespace

int main() {
    auto rt = runtime::start();
    CHECK(rt);
    CHECK(rt->run(refused()).error() == std::errc::connection_refused);
    CHECK(rt->run(several()) == 1);
    CHECK(rt->shutdown());
    CHECK(rt->try_spawn(refused()).error() == errc::closed);
}
