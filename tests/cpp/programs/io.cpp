// Streams, datagrams and files, by real sockets and files; their errors, limits and cancellation.
#include <csignal>
#include <poll.h>

#include "check.hpp"

using namespace spargio;
using namespace std::chrono_literals;

namespace {

task<std::size_t> echo(tcp_stream stream) {
    std::array<char, 4096> buffer;
    std::size_t total = 0;
    while (std::size_t count = unwrap(co_await stream.recv(buffer))) {
        CHECK(unwrap(co_await stream.send({buffer.data(), count})) == count);
        total += count;
    }
    CHECK(co_await stream.close());
    co_return total;
}

task<> serve(tcp_listener &listener) {
    co_await with_scope([&](async_scope &scope) -> task<> {
        auto one = [](tcp_stream stream) -> task<> { (void)co_await echo(std::move(stream)); };
        auto clients = listener.incoming();
        while (auto client = co_await clients.next()) {
            CHECK(client->set_nodelay(true));
            scope.spawn_or_fail(one(std::move(*client)), stealable);
        }
    });
}

task<int> talk(uint16_t port, int number) {
    tcp_stream stream = unwrap(co_await tcp_stream::connect("127.0.0.1", port));
    std::string text = "message " + std::to_string(number), answer(text.size(), ' ');
    for (int i = 0; i < 20; i++) {
        unwrap(co_await stream.write_all(text));
        unwrap(co_await stream.read_exactly(answer));
        CHECK(answer == text);
    }
    CHECK(co_await stream.shutdown(SHUT_WR));
    CHECK((co_await stream.read_exactly(answer)).error() == errc::end_of_stream);
    co_return number;
}

task<> echoes() {
    tcp_listener listener = unwrap(tcp_listener::listen("127.0.0.1", 0));
    uint16_t port = unwrap(listener.local_port());
    co_await with_scope([&](async_scope &scope) -> task<> {
        scope.spawn_or_fail(serve(listener));
        std::vector<task<int>> clients;
        for (int i = 0; i < 20; i++) clients.push_back(talk(port, i));
        std::vector<int> numbers = co_await when_all(std::move(clients));
        CHECK(numbers[19] == 19);
        scope.request_stop(); // ends the accept
    });
}

task<> errors_and_limits() {
    tcp_listener listener = unwrap(tcp_listener::listen("127.0.0.1", 0));
    uint16_t port = unwrap(listener.local_port());
    std::array<char, 16> buffer;
    CHECK((co_await timeout(2ms, listener.accept())).error() == errc::timeout);
    tcp_stream stream = unwrap(co_await tcp_stream::connect("127.0.0.1", port));
    tcp_stream peer = unwrap(co_await listener.accept().within(1h));
    CHECK((co_await stream.recv(buffer).within(2ms)).error() == std::errc::timed_out);
    CHECK(unwrap(co_await peer.send("late")) == 4);
    CHECK(unwrap(co_await stream.recv(buffer).within(1h)) == 4);
    CHECK(unwrap(co_await poll_events(stream.native_handle(), POLLOUT)) & POLLOUT);
    CHECK((co_await tcp_stream().recv(buffer)).error() == std::errc::bad_file_descriptor);
    CHECK((co_await tcp_stream::connect("nowhere", 1)).error() == errc::invalid);
    CHECK(tcp_listener::listen("127.0.0.1", port).error() == std::errc::address_in_use);
    listener = {};
    CHECK((co_await tcp_stream::connect("127.0.0.1", port)).error() ==
          std::errc::connection_refused);
    bool threw = false;
    try {
        (void)unwrap(co_await tcp_stream::connect("127.0.0.1", port));
    } catch (const std::system_error &error) {
        threw = error.code() == std::errc::connection_refused;
    }
    CHECK(threw);
}

task<> datagrams() {
    udp_socket one = unwrap(udp_socket::bind("127.0.0.1", 0)),
               two = unwrap(udp_socket::bind("127.0.0.1", 0));
    endpoint to = unwrap(endpoint::make("127.0.0.1", unwrap(two.local_port()))), from;
    std::array<char, 64> buffer;
    CHECK(unwrap(co_await one.send_to("datagram", to)) == 8);
    CHECK(unwrap(co_await two.recv_from(buffer, from)) == 8);
    CHECK(from.port() == unwrap(one.local_port()) && from.address() == "127.0.0.1");
    CHECK(unwrap(co_await two.send_to("back", from)) == 4);
    CHECK(unwrap(co_await one.recv_from(buffer, from)) == 4);
    CHECK(std::string_view(buffer.data(), 4) == "back");
    CHECK(endpoint::make("::1", 5)->port() == 5 && endpoint::make("::1", 5)->address() == "::1");
    CHECK(endpoint::make("localhost", 5).error() == errc::invalid);
}

task<> files() {
    std::string text(100'000, 'x');
    for (std::size_t i = 0; i < text.size(); i++) text[i] = static_cast<char>('a' + i % 26);
    file made = unwrap(co_await file::open("file", O_RDWR | O_CREAT | O_TRUNC));
    unwrap(co_await made.write_all_at(text, 0));
    CHECK(co_await made.sync());
    CHECK(co_await made.sync(true));
    std::string found(text.size(), ' ');
    CHECK(unwrap(co_await made.read_at(found, 26)) == text.size() - 26);
    CHECK(found.compare(0, text.size() - 26, text, 26, std::string::npos) == 0);
    CHECK(unwrap(co_await made.read_at(found, text.size())) == 0);
    CHECK(co_await made.close());
    CHECK(!made);
    CHECK((co_await file::open("nothing", O_RDONLY)).error() ==
          std::errc::no_such_file_or_directory);
    const char *path = "folder";
    CHECK(co_await op<void>([=](spargio_op *handle) { return spargio_mkdir(path, 0755, handle); }));
    CHECK((co_await op<void>([=](spargio_op *handle) {
              return spargio_mkdir(path, 0755, handle);
          })).error() == std::errc::file_exists);
    CHECK(co_await op<void>([=](spargio_op *handle) { return spargio_rmdir(path, handle); }));
}

// On other threads: values, exceptions, cancellation; names; a signal.
task<> blocks() {
    auto self = std::this_thread::get_id();
    CHECK(unwrap(co_await blocking([self] { return std::this_thread::get_id() != self; })));
    CHECK(co_await blocking([] {}));
    CHECK((co_await blocking([]() -> result<int> { return failure(errc::invalid); })).error() ==
          errc::invalid);
    bool threw = false;
    try {
        (void)co_await blocking([]() -> int { throw 7; });
    } catch (int number) {
        threw = number == 7;
    }
    CHECK(threw);
    address_list found = unwrap(co_await resolve("127.0.0.1", "80"));
    CHECK(found && found->ai_family == AF_INET);
    CHECK((co_await resolve("not numeric", "no such service")).error().category() ==
          resolve_category());

    signal_set signals = unwrap(signal_set::open({SIGUSR1}));
    CHECK((co_await signals.next().within(1ms)).error() == errc::timeout);
    CHECK(kill(getpid(), SIGUSR1) == 0);
    CHECK(unwrap(co_await signals.next()) == SIGUSR1);
}

task<> receives(tcp_stream &stream, std::atomic<bool> &began) {
    std::array<char, 16> buffer;
    began = true;
    CHECK((co_await stream.recv(buffer)).error() == std::errc::operation_canceled);
    CHECK((co_await stream.recv(buffer)).error() == std::errc::operation_canceled);
    CHECK(co_await stream.close()); // happens in any case
}

task<std::size_t> receives_some(tcp_stream &stream, std::array<char, 16> &buffer) {
    co_return unwrap(co_await stream.recv(buffer));
}

// A receive goes on while its stream is moved.
task<> moved_while_receiving() {
    tcp_listener listener = unwrap(tcp_listener::listen("127.0.0.1", 0));
    auto first = std::make_unique<tcp_stream>(
        unwrap(co_await tcp_stream::connect("127.0.0.1", unwrap(listener.local_port()))));
    tcp_stream peer = unwrap(co_await listener.accept());
    std::array<char, 16> buffer;
    auto waiting = co_await spawn(receives_some(*first, buffer));
    co_await yield_now();
    tcp_stream second(std::move(*first));
    first.reset(); // its memory is another's
    tcp_stream third;
    third = std::move(second);
    CHECK(co_await peer.send("text"));
    CHECK(unwrap(co_await waiting) == 4);
    CHECK(co_await peer.send("more"));
    CHECK(unwrap(co_await third.recv(buffer)) == 4);
}

// One that goes away is forgotten: its operation's place is free, and what it accepted is closed.
task<> incoming_that_goes() {
    tcp_listener listener = unwrap(tcp_listener::listen("127.0.0.1", 0));
    uint16_t port = unwrap(listener.local_port());
    std::array<char, 1> byte;
    tcp_stream taken, left;
    for (int i = 0; i < 300; i++) {
        auto clients = listener.incoming();
        taken = unwrap(co_await tcp_stream::connect("127.0.0.1", port));
        CHECK(co_await clients.next());
        CHECK(unwrap(co_await taken.recv(byte)) == 0);
        if (i == 299) left = unwrap(co_await tcp_stream::connect("127.0.0.1", port));
    }
    listener = {};
    auto end = co_await left.recv(byte);
    CHECK(end ? *end == 0 : end.error() == std::errc::connection_reset);
    spargio_op last = 0;
    CHECK(co_await op<void>([&](spargio_op *handle) {
        int32_t status = spargio_nop(handle);
        last = *handle;
        return status;
    }));
    CHECK(static_cast<uint32_t>(last) < 100); // slot and generation
}

task<std::pair<tcp_stream, tcp_stream>> connected() {
    tcp_listener listener = unwrap(tcp_listener::listen("127.0.0.1", 0));
    tcp_stream client =
        unwrap(co_await tcp_stream::connect("127.0.0.1", unwrap(listener.local_port())));
    tcp_stream peer = unwrap(co_await listener.accept());
    co_return {std::move(client), std::move(peer)};
}

} // namespace

int main(int argc, char **argv) {
    int before = open_descriptors();
    {
        runtime rt(with_shards(argc, argv));
        rt.run(echoes());
        rt.run(errors_and_limits());
        rt.run(datagrams());
        rt.run(files());
        rt.run(blocks());
        rt.run(moved_while_receiving());
        rt.run(incoming_that_goes());
        auto [client, peer] = rt.run(connected());
        std::atomic<bool> began{false};
        join_handle<> handle = rt.spawn(receives(client, began));
        while (!began) std::this_thread::yield();
        handle.request_stop();
        CHECK(handle.wait());
    }
    CHECK(open_descriptors() == before);
}
