// The array: out_lanes x 4 x 3 multipliers, used in three ways.
//   forward        A = two rows of x, 17 bits apart; B = w. Three products (k = 0..2) are summed in a chain, split into
//                  rows, and four chains (i = 0..3) make a lane's two sums.
//   input gradient A = dz, B = w; the same chains, one sum per lane.
//   weight gradient A = dz of a lane, B = x at a tap: each multiplier sums one element of dw over the pixels of a pass.
// data at the inputs in cycle 0: sums at lower_o and upper_o in cycle 10, sums of elements complete in cycle 5.
//
// Packed rows: A = U * 2^17 + L must fit 25 bits, so U is signed and L is not: U is x - 128 where x is unsigned, L is x + 128
// where x is signed. A chain starts with -128 times the sum of its weights, so that its lower part becomes a sum over
// x - 128 (x unsigned) or x (signed), too: |sum| <= 3 * 128 * 128 < 2^16 stays below bit 17.
`default_nettype none

module jb_array #(
  parameter int OutLanes = 16
) (
  input  wire logic                    clk_i,
  // stable during a tile
  input  wire logic                    forward_i,
  input  wire logic                    weight_gradient_i,
  input  wire logic                    channels_i,     // lane_mode 1: operand columns are groups of channels
  input  wire logic                    stride2_i,      // second row of forward is two rows of x below
  input  wire logic                    x_unsigned_i,
  // operands, cycle 0
  input  wire logic                    odd_i,          // forward: four channels of the word's upper half come first
  input  wire logic [1023:0]           x_i,
  input  wire logic [255:0]            g_i,
  input  wire logic                    swap_i,         // first pixel of a step: the staged weights are copied
  input  wire logic [96*OutLanes-1:0]  group_i,
  input  wire logic [40*OutLanes-1:0]  chain_i,        // minus the sum of each chain's weights, or 0
  // weight gradient: stable from cycle 0 of a pass' first pixel to cycle 2 of its last
  input  wire logic [42*OutLanes-1:0]  tap_i,          // per slot (3 * row + column) * 8 + channel
  input  wire logic [36*OutLanes-1:0]  lane_i,         // of the slot's half of the lanes, per multiplier
  input  wire logic                    pixel_i,        // a pixel of a pass is here
  input  wire logic                    pixel_first_i,  // the pass' first
  // results
  output      logic [30*OutLanes-1:0]  lower_o,
  output      logic [20*OutLanes-1:0]  upper_o,
  output      logic [OutLanes-1:0]     carry_o,        // to be added to upper_o
  output      logic [576*OutLanes-1:0] element_o       // 48 bits per multiplier; slot s has 2s and 2s + 1
);
  localparam int Half = OutLanes < 8 ? OutLanes : 8;  // lanes of a half
  localparam int LaneBits = $clog2(Half);
  localparam int ClassSlots = 3 * Half;  // class 2 * half + part: channels 0..3 or 4..7 of the word of x

  // ---- operands of forward and input gradient: cycle 1, column k two cycles after column k - 1
  logic [24:0] operand_d[12], operand_q[12];
  logic [24:0] delayed1_q[8], delayed2_q[8], delayed3_q[4], delayed4_q[4];
  logic [24:0] operand[12];  // 3 * i + k
  logic swap1_q, swap2_q, swap3_q, swap4_q;
  logic [95:0] row0[3], row1[3];  // words of the first and second row, for column k: {.., upper, lower half}
  logic [31:0] x0[3], x1[3];

  always_comb begin
    for (int k = 0; k < 3; k++) begin
      row0[k] = {x_i[64*(k == 2 ? 2 : 1)+:32], x_i[64*k+:64]};
      row1[k] = stride2_i ? {x_i[64*(8+(k == 2 ? 2 : 1))+:32], x_i[64*(8+k)+:64]}
                          : {x_i[64*(4+(k == 2 ? 2 : 1))+:32], x_i[64*(4+k)+:64]};
    end
    // channels_i: halves odd_i, odd_i + 1, odd_i + 2 of words 0 and 1
    x0[0] = odd_i ? row0[0][63:32] : row0[0][31:0];
    x1[0] = odd_i ? row1[0][63:32] : row1[0][31:0];
    x0[1] = channels_i ? (odd_i ? row0[1][31:0] : row0[0][63:32]) : (odd_i ? row0[1][63:32] : row0[1][31:0]);
    x1[1] = channels_i ? (odd_i ? row1[1][31:0] : row1[0][63:32]) : (odd_i ? row1[1][63:32] : row1[1][31:0]);
    x0[2] = channels_i ? (odd_i ? row0[1][63:32] : row0[1][31:0]) : (odd_i ? row0[2][63:32] : row0[2][31:0]);
    x1[2] = channels_i ? (odd_i ? row1[1][63:32] : row1[1][31:0]) : (odd_i ? row1[2][63:32] : row1[2][31:0]);
  end

  always_comb begin
    for (int i = 0; i < 4; i++) begin
      for (int k = 0; k < 3; k++) begin
        if (forward_i) begin
          operand_d[3*i+k] = {x0[k][8*i+7] ^ x_unsigned_i, x0[k][8*i+:7], 9'd0, x1[k][8*i+7] ^ !x_unsigned_i, x1[k][8*i+:7]};
        end else if (channels_i) begin
          operand_d[3*i+k] = {{9{g_i[64*k+16*i+15]}}, g_i[64*k+16*i+:16]};
        end else begin  // a later kernel column meets an earlier column of dz
          operand_d[3*i+k] = {{9{g_i[64*(2-k)+16*i+15]}}, g_i[64*(2-k)+16*i+:16]};
        end
      end
    end
  end

  always_ff @(posedge clk_i) begin
    for (int i = 0; i < 12; i++) operand_q[i] <= operand_d[i];
    for (int i = 0; i < 4; i++) begin
      delayed1_q[2*i]   <= operand_q[3*i+1];
      delayed1_q[2*i+1] <= operand_q[3*i+2];
      delayed3_q[i]     <= delayed2_q[2*i+1];
      delayed4_q[i]     <= delayed3_q[i];
    end
    for (int i = 0; i < 8; i++) delayed2_q[i] <= delayed1_q[i];
    swap1_q    <= swap_i;
    swap2_q    <= swap1_q;
    swap3_q    <= swap2_q;
    swap4_q    <= swap3_q;
  end

  always_comb begin
    for (int i = 0; i < 4; i++) begin
      operand[3*i]   = operand_q[3*i];
      operand[3*i+1] = delayed2_q[2*i];
      operand[3*i+2] = delayed4_q[i];
    end
  end

  // ---- operands of the weight gradient: dz in cycle 2, x at each slot's tap in cycle 2
  logic [16*OutLanes-1:0] dz1_q, dz2_q;
  logic [575:0] window;
  logic pixel1_q, pixel2_q, pixel3_q, pixel4_q, first1_q, first2_q, first3_q, first4_q;

  always_comb begin
    for (int i = 0; i < 3; i++) begin
      for (int j = 0; j < 3; j++) window[64*(3*i+j)+:64] = x_i[64*(4*i+j)+:64];
    end
  end

  always_ff @(posedge clk_i) begin
    dz1_q    <= g_i[16*OutLanes-1:0];
    dz2_q    <= dz1_q;
    pixel1_q <= pixel_i;
    pixel2_q <= pixel1_q;
    pixel3_q <= pixel2_q;
    pixel4_q <= pixel3_q || !weight_gradient_i;
    first1_q <= pixel_first_i;
    first2_q <= first1_q;
    first3_q <= first2_q;
    first4_q <= first3_q || !weight_gradient_i;
  end

  logic [47:0] p[12*OutLanes];
  logic [8:0] x_tap_q[6*OutLanes];

  logic [287:0] part[2];  // four channels at each place of the window

  always_comb begin
    for (int n = 0; n < 9; n++) begin
      part[0][32*n+:32] = window[64*n+:32];
      part[1][32*n+:32] = window[64*n+32+:32];
    end
  end

  for (genvar s = 0; s < 6 * OutLanes; s++) begin : g_slot
    localparam int Part = (s / ClassSlots) % 2;

    logic [5:0] tap;
    logic [127:0] low, middle;
    logic [31:0] high;
    logic [7:0] low_q, middle_q, high_q, chosen;

    assign low    = part[Part][127:0];
    assign middle = part[Part][255:128];
    assign high   = part[Part][287:256];
    assign tap    = {tap_i[7*s+3+:4], tap_i[7*s+:2]};
    assign chosen = tap[5] ? high_q : tap[4] ? middle_q : low_q;

    always_ff @(posedge clk_i) begin
      low_q      <= low[8*tap[3:0]+:8];
      middle_q   <= middle[8*tap[3:0]+:8];
      high_q     <= high[8*tap[1:0]+:8];
      x_tap_q[s] <= {chosen[7] && !x_unsigned_i, chosen};
    end
  end

  // ---- multipliers
  logic [7:0] weight_q[12*OutLanes];

  for (genvar m = 0; m < 12 * OutLanes; m++) begin : g_mac
    localparam int K = m % 3;
    localparam int Operand = m % 12;
    localparam int Slot = m / 2;
    localparam int FirstLane = (Slot / (2 * ClassSlots)) * Half;
    localparam int Chain = m / 3;

    logic [24:0] a;
    logic [17:0] b;
    logic [47:0] c;
    logic [LaneBits-1:0] lane;
    logic [16*Half-1:0] half;
    logic [15:0] dz;
    logic swap;

    assign swap = K == 0 ? swap_i : K == 1 ? swap2_q : swap4_q;
    assign lane = lane_i[3*m+:LaneBits];
    assign half = dz2_q[16*FirstLane+:16*Half];
    assign dz   = half[16*lane+:16];
    assign a    = weight_gradient_i ? {{9{dz[15]}}, dz} : operand[Operand];
    assign b    = weight_gradient_i ? {{9{x_tap_q[Slot][8]}}, x_tap_q[Slot]} : {{10{weight_q[m][7]}}, weight_q[m]};
    assign element_o[48*m+:48] = p[m];

    if (K == 0) begin : g_first
      logic [9:0] chain_q;

      always_ff @(posedge clk_i) begin
        if (swap1_q) chain_q <= chain_i[10*Chain+:10];
      end

      assign c = {{31{chain_q[9]}}, chain_q, 7'd0};
    end else begin : g_next
      assign c = p[m-1];
    end

    always_ff @(posedge clk_i) begin
      if (swap) weight_q[m] <= group_i[8*m+:8];
    end

    jb_mac u_mac (
      .clk_i,
      .a_i         (a),
      .b_i         (b),
      .c_i         (c),
      .c_clear_i   (weight_gradient_i),
      .accumulate_i(!first4_q),
      .enable_i    (pixel4_q),
      .p_o         (p[m])
    );
  end

  logic unused_selects;
  assign unused_selects = ^{tap_i, lane_i};

  // ---- sums of four chains: cycles 9 and 10
  for (genvar lane = 0; lane < OutLanes; lane++) begin : g_lane
    logic [27:0] lower[4];
    logic [16:0] upper[4];
    logic [3:0] negative;
    logic [28:0] lower01_q, lower23_q;
    logic [18:0] upper01, upper23;
    logic [17:0] upper01_q, upper23_q;
    logic [19:0] upper_sum;
    logic [1:0] rest_q;
    logic unused;

    always_comb begin
      for (int i = 0; i < 4; i++) begin
        negative[i] = p[12*lane+3*i+2][16];
        upper[i]    = p[12*lane+3*i+2][33:17];
        lower[i]    = forward_i ? {{11{negative[i]}}, p[12*lane+3*i+2][16:0]} : p[12*lane+3*i+2][27:0];
      end
      // a + b + carry as one addition
      upper01   = {upper[0][16], upper[0], 1'b1} + {upper[1][16], upper[1], negative[0]};
      upper23   = {upper[2][16], upper[2], 1'b1} + {upper[3][16], upper[3], negative[2]};
      upper_sum = {upper01_q[17], upper01_q, 1'b1} + {upper23_q[17], upper23_q, rest_q[0]};
    end

    always_ff @(posedge clk_i) begin
      lower01_q <= {lower[0][27], lower[0]} + {lower[1][27], lower[1]};
      lower23_q <= {lower[2][27], lower[2]} + {lower[3][27], lower[3]};
      upper01_q <= upper01[18:1];
      upper23_q <= upper23[18:1];
      rest_q    <= {negative[3], negative[1]};
    end

    always_ff @(posedge clk_i) begin
      lower_o[30*lane+:30] <= {lower01_q[28], lower01_q} + {lower23_q[28], lower23_q};
      upper_o[20*lane+:20] <= {upper_sum[19], upper_sum[19:1]};
      carry_o[lane]        <= rest_q[1];
    end

    assign unused = upper01[0] ^ upper23[0] ^ upper_sum[0];
  end
endmodule

`default_nettype wire
