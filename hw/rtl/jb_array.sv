// The array: out_lanes x 4 x 3 multipliers, used in three ways.
//   forward        D = two rows of x, 17 bits apart; B = w. Six products (i = 0, 1 or 2, 3; k = 0..2) are summed in a chain, split
//                  into rows, and two chains make a lane's two sums.
//   input gradient D = dz, B = w; the same chains, one sum per lane.
//   weight gradient A = dz of a lane, B = x at a tap: each multiplier sums one element of dw over the pixels of a pass.
// data at the inputs in cycle 0: sums at lower_o and upper_o in cycle 10; sums of elements are complete in cycle 5 and leave in cycles
// 5 to 10, when P of each multiplier goes on to the next one of its chain.
//
// The array selects little in LUTs: a multiplier takes A or D by its own input, and weights wait in its first B register while the
// second one is in use. In the weight gradient multiplier i of a class of four lanes (four lanes by twelve: i = 0..47) has one of four
// lanes and one of eight taps, its candidates (jb_pkg::CANDIDATE_VALUE); weights come through the same selector.
//
// Packed rows: A = U * 2^17 + L must fit 25 bits, so U is signed and L is not: U is x - 128 where x is unsigned, L is x + 128
// where x is signed. A chain starts with -128 times the sum of its weights, so that its lower part becomes a sum over
// x - 128 (x unsigned) or x (signed), too: |sum| <= 6 * 128 * 128 < 2^17 needs 18 bits, one more than there are. Where it is negative, the
// upper part is one too small; the lowest bit of the sum of U, made beside the multipliers, tells.
`default_nettype none

module jb_array #(
  parameter int OutLanes = 16
) (
  input  wire logic                    clk_i,
  // stable during a tile
  input  wire logic                    forward_i,
  input  wire logic                    weight_gradient_i,
  input  wire logic                    channels_i,     // lane_mode 1: operand columns are groups of channels
  input  wire logic                    x_unsigned_i,
  // operands, cycle 0
  input  wire logic                    odd_i,          // forward: four channels of the word's upper half come first
  input  wire logic [575:0]            x_i,            // 3 rows x 3 columns, or words, of 8 channels
  input  wire logic [255:0]            g_i,
  input  wire logic                    swap_i,         // first pixel of a step: the weights that wait are taken
  // weights: eight bytes, and a cycle later which multipliers they are for
  input  wire logic [63:0]             w_i,
  input  wire logic [12*OutLanes/8-1:0] w_load_i,
  input  wire logic [22*OutLanes-1:0]  chain_i,        // minus the sum of each chain's weights, or 0
  // weight gradient: a pass is loaded before cycle 0 of its first pixel, and after cycle 0 of the last one before
  input  wire logic                    pass_load_i,
  input  wire logic [36*OutLanes-1:0]  pass_tap_i,     // candidate, per multiplier
  input  wire logic [24*OutLanes-1:0]  pass_lane_i,    // of the class
  input  wire logic                    pixel_i,        // a pixel of a pass is here
  input  wire logic                    pixel_first_i,  // the pass' first
  input  wire logic                    shift_i,        // cycle 4 of its last: the sums of elements leave from the next cycle on
  // results
  output      logic [30*OutLanes-1:0]  lower_o,
  output      logic [20*OutLanes-1:0]  upper_o,
  output      logic [OutLanes-1:0]     carry_o,        // to be added to upper_o
  output      logic [96*OutLanes-1:0]  element_o       // 48 bits per half of a lane
);
  // ---- operands of forward and input gradient: multiplier j of a chain one cycle after multiplier j - 1
  logic [24:0] operand_d[12], operand_q[12];  // 3 * i + k
  logic [24:0] operand[12];
  logic [6:1] swap_q;
  logic [31:0] x0[3], x1[3];  // of the first and second row, for column k
  logic [383:0] rows;

  always_comb begin
    rows = x_i[0+:384];
    // channels_i: halves odd_i, odd_i + 1, odd_i + 2 of words 0 and 1
    x0[0] = odd_i ? rows[32+:32] : rows[0+:32];
    x1[0] = odd_i ? rows[224+:32] : rows[192+:32];
    x0[1] = channels_i ? (odd_i ? rows[64+:32] : rows[32+:32]) : (odd_i ? rows[96+:32] : rows[64+:32]);
    x1[1] = channels_i ? (odd_i ? rows[256+:32] : rows[224+:32]) : (odd_i ? rows[288+:32] : rows[256+:32]);
    x0[2] = channels_i ? (odd_i ? rows[96+:32] : rows[64+:32]) : (odd_i ? rows[160+:32] : rows[128+:32]);
    x1[2] = channels_i ? (odd_i ? rows[288+:32] : rows[256+:32]) : (odd_i ? rows[352+:32] : rows[320+:32]);
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
    for (int n = 0; n < 12; n++) operand_q[n] <= operand_d[n];
    swap_q <= {swap_q[5:1], swap_i};
  end

  for (genvar n = 0; n < 12; n++) begin : g_operand
    if (n % 6 == 0) begin : g_first
      assign operand[n] = operand_q[n];
    end else begin : g_later
      logic [25*(n%6)-1:0] line_q;

      always_ff @(posedge clk_i) line_q <= (25 * (n % 6))'({line_q, operand_q[n]});

      assign operand[n] = line_q[25*(n%6)-1-:25];
    end
  end

  // ---- operands of the weight gradient, and weights on their way: cycle 1
  logic [255:0] dz_q;
  logic [575:0] window_q;
  logic [36*OutLanes-1:0] tap_q;
  logic [24*OutLanes-1:0] lane_q;
  logic [3:1] pixel_q, first_q;
  logic [4:1] shift_q;
  logic enable_q, signed_bytes;

  // Columns 0 and 1 of row r carry weights, too: multipliers 2c and 2c + 1 of the sixteen of the row take channel c of column 0 and 1.
  always_ff @(posedge clk_i) begin
    for (int r = 0; r < 3; r++) begin
      for (int c = 0; c < 8; c++) begin
        for (int column = 0; column < 2; column++) begin
          window_q[64*(3*r+column)+8*c+:8] <= weight_gradient_i ? x_i[64*(3*r+column)+8*c+:8] : w_i[8*(2*(c%4)+column)+:8];
        end
      end
      window_q[64*(3*r+2)+:64] <= x_i[64*(3*r+2)+:64];
    end
    dz_q     <= g_i;
    pixel_q  <= {pixel_q[2:1], pixel_i};
    first_q  <= {first_q[2:1], pixel_first_i};
    shift_q  <= {shift_q[3:1], shift_i};
    enable_q <= pixel_q[3] || shift_i || shift_q[4:1] != '0 || !weight_gradient_i;
  end

  for (genvar m = 0; m < 12 * OutLanes; m++) begin : g_select
    always_ff @(posedge clk_i) begin
      if (!weight_gradient_i) begin
        tap_q[3*m+:3]  <= 3'(m % 2);
        lane_q[2*m+:2] <= '0;
      end else if (pass_load_i) begin
        tap_q[3*m+:3]  <= pass_tap_i[3*m+:3];
        lane_q[2*m+:2] <= pass_lane_i[2*m+:2];
      end
    end
  end

  assign signed_bytes = !weight_gradient_i || !x_unsigned_i;

  // ---- candidates of a multiplier: 8 of the window's 72 values
  logic [63:0] candidates[48];

  for (genvar i = 0; i < 48; i++) begin : g_candidates
    for (genvar k = 0; k < 8; k++) begin : g_candidate
      assign candidates[i][8*k+:8] = window_q[8*32'(jb_pkg::CANDIDATE_VALUE[7*(8*i+k)+:7])+:8];
    end
  end

  // ---- multipliers
  logic [47:0] p[12*OutLanes], pc[12*OutLanes];
  logic [2:0] add_first, add_next;  // what is added to the product: codes of jb_mac
  logic multiply, shifting;

  assign shifting  = shift_i || shift_q[4:1] != '0;
  assign multiply  = !weight_gradient_i || !shifting;
  assign add_first = !weight_gradient_i ? 3'd3 : shifting ? 3'd1 : first_q[3] ? 3'd0 : 3'd2;
  assign add_next  = !weight_gradient_i || shifting ? 3'd1 : first_q[3] ? 3'd0 : 3'd2;

  for (genvar m = 0; m < 12 * OutLanes; m++) begin : g_mac
    localparam int K = m % 6;
    localparam int Chain = m / 6;
    localparam int FirstLane = m / 48 * 4;

    logic [7:0] chosen;
    logic [15:0] dz;
    logic [47:0] cascade;

    jb_mux8 #(.Width(8)) u_tap (.values_i(candidates[m%48]), .select_i(tap_q[3*m+:3]), .value_o(chosen));

    assign dz = dz_q[16*FirstLane+16*32'(lane_q[2*m+:2])+:16];

    if (m % 12 == 0) begin : g_start
      assign cascade = '0;
    end else begin : g_next
      assign cascade = pc[m-1];
    end

    jb_mac u_mac (
      .clk_i,
      .use_d_i    (!weight_gradient_i),
      .a_i        ({{9{dz[15]}}, dz}),
      .d_i        (operand[m%12]),
      .b_i        ({{10{chosen[7] && signed_bytes}}, chosen}),
      .b1_enable_i(weight_gradient_i || w_load_i[m/8]),
      .b2_enable_i(weight_gradient_i || swap_q[1+K]),
      .c_i        ({{30{chain_i[11*Chain+10]}}, chain_i[11*Chain+:11], 7'd0}),
      .c_enable_i (swap_q[2]),
      .add_i      (K == 0 ? add_first : add_next),
      .multiply_i (multiply),
      .p_enable_i (enable_q),
      .pc_i       (cascade),
      .p_o        (p[m]),
      .pc_o       (pc[m])
    );

    if (m % 6 == 5) begin : g_element
      assign element_o[48*(m/6)+:48] = p[m];
    end
  end

  // ---- lowest bits of the sums of U: weights' lowest bits wait and are copied as the weights are
  logic [7:0] w_lowest_q;
  logic [12*OutLanes-1:0] waiting_q, lowest_q;

  always_ff @(posedge clk_i) begin
    for (int n = 0; n < 8; n++) w_lowest_q[n] <= w_i[8*n];
    for (int m = 0; m < 12 * OutLanes; m++) begin
      if (w_load_i[m/8]) waiting_q[m] <= w_lowest_q[m%8];
    end
    if (swap_i) lowest_q <= waiting_q;
  end

  // ---- sums of two chains: cycle 10
  for (genvar lane = 0; lane < OutLanes; lane++) begin : g_lane
    logic [28:0] lower[2];
    logic [17:0] upper[2];
    logic [1:0] negative;
    logic [19:0] upper_sum;

    for (genvar h = 0; h < 2; h++) begin : g_chain
      logic [2:0] odd0, odd1;
      logic parity0_q, parity1_q;
      logic [9:3] odd_q;

      for (genvar j = 0; j < 3; j++) begin : g_product
        assign odd0[j] = lowest_q[12*lane+6*h+j] && operand_q[6*h+j][17];
        assign odd1[j] = lowest_q[12*lane+6*h+3+j] && operand_q[6*h+3+j][17];
      end

      always_ff @(posedge clk_i) begin
        parity0_q <= ^odd0;
        parity1_q <= ^odd1;
        odd_q     <= {odd_q[8:3], parity0_q ^ parity1_q};
      end

      assign negative[h] = p[12*lane+6*h+5][17] ^ odd_q[9];
      assign upper[h]    = p[12*lane+6*h+5][34:17];
      assign lower[h]    = forward_i ? {{12{negative[h]}}, p[12*lane+6*h+5][16:0]} : p[12*lane+6*h+5][28:0];
    end

    // a + b + carry as one addition
    assign upper_sum = {upper[0][17], upper[0], 1'b1} + {upper[1][17], upper[1], negative[0]};

    always_ff @(posedge clk_i) begin
      lower_o[30*lane+:30] <= {lower[0][28], lower[0]} + {lower[1][28], lower[1]};
      upper_o[20*lane+:20] <= {upper_sum[19], upper_sum[19:1]};
      carry_o[lane]        <= negative[1];
    end

    logic unused;
    assign unused = upper_sum[0];
  end
endmodule

`default_nettype wire
