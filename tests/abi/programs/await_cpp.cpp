// spargio_await.h in C++.
#include "check.h"
#include "spargio_await.h"

namespace {

struct nap { spargio_await await; int32_t slept; int rounds; };
int32_t run(void *ctx, int64_t *result) {
    nap *self = static_cast<nap *>(ctx);
    int32_t status;
    SPARGIO_BEGIN(&self->await);
    for (; self->rounds < 3; self->rounds++) {
        SPARGIO_TRY(self->slept, spargio_sleep(1000, SPARGIO_OP));
        SPARGIO_AWAIT_WITHIN(self->slept, 1000, spargio_nop(SPARGIO_OP));
        SPARGIO_YIELD_NOW;
    }
    SPARGIO_JOIN(status, 0, result);
    if (status != SPARGIO_E_CLOSED) return status;
    *result = self->rounds;
    SPARGIO_END;
}
} // namespace

int main() {
    spargio_runtime runtime;
    spargio_join join;
    nap ctx = {};
    int64_t result = 0;
    CHECK_IS(spargio_runtime_start(nullptr, &runtime), SPARGIO_OK);
    CHECK_IS(spargio_spawn(runtime, nullptr, run, &ctx, &join), SPARGIO_OK);
    CHECK_IS(spargio_join_wait(join, SPARGIO_FOREVER, &result), SPARGIO_OK);
    CHECK(result == 3);
    CHECK_IS(spargio_join_release(join), SPARGIO_OK);
    CHECK_IS(spargio_runtime_shutdown(runtime, SPARGIO_FOREVER), SPARGIO_OK);
}
