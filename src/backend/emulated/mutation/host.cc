// Stands in a library of mutants for what kernels call: hands each call on to the program that has loaded the library, which stores
// its functions in the pointers `emu_host_...`.
#include <cstddef>
#include <cstdint>

struct uint3 { unsigned x, y, z; };

#define WORD(result, name, parameters, arguments) \
    extern "C" result (*emu_host_##name) parameters; \
    result (*emu_host_##name) parameters = nullptr;  \
    extern "C" result name parameters { return emu_host_##name arguments; }

WORD(uint3, emu_thread_idx, (), ())
WORD(uint3, emu_block_idx, (), ())
WORD(uint3, emu_block_dim, (), ())
WORD(uint3, emu_grid_dim, (), ())
WORD(void, emu_barrier, (const char *file, int line), (file, line))
WORD(uint64_t, emu_warp, (int kind, unsigned mask, uint64_t bits, int lane, const char *file, int line),
     (kind, mask, bits, lane, file, line))
WORD(void, emu_atomic, (const void *p, size_t size), (p, size))
WORD(void, emu_vector, (const void *p, size_t size, int write), (p, size, write))
WORD(void, emu_shared, (const void *p, size_t size, const char *name, int line), (p, size, name, line))
WORD(void *, emu_dynamic, (const char *name), (name))

WORD(void, __ubsan_handle_add_overflow, (void *at, size_t a, size_t b), (at, a, b))
WORD(void, __ubsan_handle_sub_overflow, (void *at, size_t a, size_t b), (at, a, b))
WORD(void, __ubsan_handle_mul_overflow, (void *at, size_t a, size_t b), (at, a, b))
WORD(void, __ubsan_handle_divrem_overflow, (void *at, size_t a, size_t b), (at, a, b))
WORD(void, __ubsan_handle_shift_out_of_bounds, (void *at, size_t a, size_t b), (at, a, b))
WORD(void, __ubsan_handle_negate_overflow, (void *at, size_t a), (at, a))
WORD(void, __ubsan_handle_out_of_bounds, (void *at, size_t i), (at, i))

// Called while the library is loaded, before any pointer is stored.
extern "C" void __tsan_init() {}
WORD(void, __tsan_func_entry, (void *pc), (pc))
WORD(void, __tsan_func_exit, (), ())
WORD(void, __tsan_read_range, (void *p, size_t size), (p, size))
WORD(void, __tsan_write_range, (void *p, size_t size), (p, size))
#define ACCESS(name) WORD(void, __tsan_##name, (void *p), (p))
ACCESS(read1) ACCESS(read2) ACCESS(read4) ACCESS(read8) ACCESS(read16)
ACCESS(write1) ACCESS(write2) ACCESS(write4) ACCESS(write8) ACCESS(write16)
ACCESS(unaligned_read2) ACCESS(unaligned_read4) ACCESS(unaligned_read8) ACCESS(unaligned_read16)
ACCESS(unaligned_write2) ACCESS(unaligned_write4) ACCESS(unaligned_write8) ACCESS(unaligned_write16)
