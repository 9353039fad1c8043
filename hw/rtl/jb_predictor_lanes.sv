// All products of the predictor's cycle: 2 pixels x 3 taps x XChannels channels of x x 4 channels of dz, and the registers that hold the
// sums of a segment while they are drained, one word per drain_select_i.
// Element (tap t, channel c of x, channel h of dz) is lane (t * XChannels + c) * 4 + h; word k of a tap holds its lanes k * Active on.
`default_nettype none

module jb_predictor_lanes #(
  parameter int XChannels = 8,  // channels of x per tap
  parameter int Active    = 8   // lanes of a word
) (
  input  wire logic                     clk_i,
  input  wire logic                     clear_i,
  input  wire logic                     valid_i,     // x and g are pixels
  input  wire logic                     end_i,       // with valid_i: last of a segment
  input  wire logic                     unsigned_i,  // x is 0..255
  input  wire logic [3*XChannels*5-1:0] xa_i,        // the leading 5 bits of x of one pixel
  input  wire logic [3*XChannels*5-1:0] xb_i,        // and of the other
  input  wire logic [39:0]              ga_i,
  input  wire logic [39:0]              gb_i,        // zero where there is no other pixel
  output      logic                     captured_o,  // pulse: the segment's sums can be drained from now on
  input  wire logic                     take_i,      // drain them; the next segment may be captured
  input  wire logic                     drain_step_i,
  input  wire logic [3:0]               drain_select_i,
  output      logic [Active*20-1:0]     sums_o       // in the cycle after drain_step_i
);
  localparam int Values = 3 * XChannels;
  localparam int TapWords = 4 * XChannels / Active;

  logic [Values*4-1:0] xa_q, xb_q;
  logic [Values*2-1:0] xa_late_q, xb_late_q;
  logic [43:0] ga_q, gb_q, both_q, ga_late_q, gb_late_q, both_late_q;
  logic [2:0] valid_q, end_q;
  logic first_q, capture_q, captured_q, signed_q;
  logic [Values*4*20-1:0] captured, sums;

  assign captured_o = captured_q;

  always_ff @(posedge clk_i) begin
    valid_q    <= {valid_q[1:0], valid_i} & {3{!clear_i}};
    end_q      <= {end_q[1:0], valid_i && end_i} & {3{!clear_i}};
    capture_q  <= end_q[2] && !clear_i;
    captured_q <= capture_q && !clear_i;
    if (clear_i) first_q <= 1'b1;
    else if (valid_q[2]) first_q <= end_q[2];
    signed_q <= !unsigned_i;
  end

  // Leading 4 bits of x, half up: x[7:4] + x[3], clamped to 15, or to +-7. Bit by bit, so that no carry chain is made of it.
  for (genvar v = 0; v < 2 * Values; v++) begin : gen_x
    logic [4:0] x;
    logic [3:0] clamped, carry;
    assign x     = v < Values ? xa_i[5*(v%Values)+:5] : xb_i[5*(v%Values)+:5];
    assign carry = {&x[3:0], &x[2:0], &x[1:0], x[0]};
    always_comb begin
      clamped = x[4:1] ^ carry;
      if (carry[3] && (unsigned_i == x[4])) clamped = {unsigned_i, 3'b111};
      if (!unsigned_i && x == 5'b10000) clamped = 4'b1001;
    end
    if (v < Values) begin : gen_a
      always_ff @(posedge clk_i) begin
        xa_q[4*v+:4]      <= clamped;
        xa_late_q[2*v+:2] <= xa_q[4*v+:2];
      end
    end else begin : gen_b
      always_ff @(posedge clk_i) begin
        xb_q[4*(v-Values)+:4]      <= clamped;
        xb_late_q[2*(v-Values)+:2] <= xb_q[4*(v-Values)+:2];
      end
    end
  end

  always_ff @(posedge clk_i) begin
    for (int h = 0; h < 4; h++) begin
      ga_q[11*h+:11]   <= {ga_i[10*h+9], ga_i[10*h+:10]};
      gb_q[11*h+:11]   <= {gb_i[10*h+9], gb_i[10*h+:10]};
      both_q[11*h+:11] <= {ga_i[10*h+9], ga_i[10*h+:10]} + {gb_i[10*h+9], gb_i[10*h+:10]};
    end
    ga_late_q   <= ga_q;
    gb_late_q   <= gb_q;
    both_late_q <= both_q;
  end

  for (genvar v = 0; v < Values; v++) begin : gen_value
    for (genvar h = 0; h < 4; h++) begin : gen_lane
      jb_predictor_lane u_lane (
        .clk_i,
        .signed_i   (signed_q),
        .xa_i       (xa_q[4*v+2+:2]),
        .xb_i       (xb_q[4*v+2+:2]),
        .ga_i       (ga_q[11*h+:11]),
        .gb_i       (gb_q[11*h+:11]),
        .both_i     (both_q[11*h+:11]),
        .xa_late_i  (xa_late_q[2*v+:2]),
        .xb_late_i  (xb_late_q[2*v+:2]),
        .ga_late_i  (ga_late_q[11*h+:11]),
        .gb_late_i  (gb_late_q[11*h+:11]),
        .both_late_i(both_late_q[11*h+:11]),
        .enable_i   (valid_q[2]),
        .first_i    (first_q),
        .capture_i  (capture_q),
        .sum_o      (captured[(v*4+h)*20+:20])
      );
    end
  end

  always_ff @(posedge clk_i) begin
    if (take_i) sums <= captured;
  end

  // Word of the drain: one of a tap, then one of three taps, the others being held at zero
  localparam int Word = Active * 20;
  logic [Word-1:0] tap_q[3];

  for (genvar t = 0; t < 3; t++) begin : gen_drain
    logic [Word-1:0] now;
    logic clear;  // one net for all these flip-flops

    assign clear = drain_step_i && drain_select_i[3:2] != 2'(t);

    always_comb begin
      now = sums[t*TapWords*Word+:Word];
      for (int k = 1; k < TapWords; k++) begin
        if (drain_select_i[1:0] == 2'(k)) now = sums[(t*TapWords+k)*Word+:Word];
      end
    end

    always_ff @(posedge clk_i) begin
      if (clear) tap_q[t] <= '0;
      else if (drain_step_i) tap_q[t] <= now;
    end
  end
  assign sums_o = tap_q[0] | tap_q[1] | tap_q[2];
endmodule

`default_nettype wire
