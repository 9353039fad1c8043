// Reads lines `shift rounding relu value`, prints `wide value saturated` of jb_requantise for each.
#include <cstdint>
#include <cstdio>

#include "Vjb_requantise.h"
#include "verilated.h"

int main() {
  VerilatedContext context;
  Vjb_requantise top{&context};
  int shift, rounding, relu;
  long long value;
  while (std::scanf("%d %d %d %lld", &shift, &rounding, &relu, &value) == 4) {
    top.shift_i = shift;
    top.rounding_i = rounding;
    top.relu_i = relu;
    top.value_i = static_cast<uint64_t>(value) & ((uint64_t{1} << 48) - 1);
    for (int cycle = 0; cycle < 8; ++cycle) {
      top.clk_i = 0;
      top.eval();
      top.clk_i = 1;
      top.eval();
    }
    const auto wide = static_cast<long long>(static_cast<int64_t>(top.wide_o << 16) >> 16);
    std::printf("%lld %d %d\n", wide, static_cast<int>(static_cast<int16_t>(top.value_o)), top.saturated_o);
  }
}
