/* Tells libFuzzer of the library's counters. Only in the programs that search. */
#include <stddef.h>

void __sanitizer_cov_8bit_counters_init(const void *start, const void *end);
void __sanitizer_cov_pcs_init(const void *start, const void *end);
size_t fuzz_register(void (*counters)(const void *, const void *), void (*places)(const void *, const void *));

__attribute__((constructor)) static void tell(void) {
    fuzz_register(__sanitizer_cov_8bit_counters_init, __sanitizer_cov_pcs_init);
}
