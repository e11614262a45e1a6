// What Metal adds to C++ and TVM's kernels use, for clang's C++ for OpenCL: a parse and a type
// check, not a compilation. Metal's address spaces, vectors and functions are OpenCL's by other
// names.
#define device __global
#define threadgroup __local
#define thread __private
#define constant __constant
#define threadgroup_barrier(flags) barrier(CLK_LOCAL_MEM_FENCE)
#define buffer(n)
#define select select_by_bool
template <typename T>
T select_by_bool(T otherwise, T chosen, bool condition) {
  return condition ? chosen : otherwise;
}
namespace precise {
inline float exp(float x) { return ::exp(x); }
inline float tanh(float x) { return ::tanh(x); }
}  // namespace precise
template <typename T>
T simd_shuffle(T value, ushort lane);
template <typename T>
T simd_shuffle_up(T value, ushort distance);
template <typename T>
T simd_shuffle_down(T value, ushort distance);
