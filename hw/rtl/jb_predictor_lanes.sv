// All products of the predictor's cycle: 3 taps x (4 or 8) channels of x x Half channels of dz, and the registers that hold the
// sums of a segment while they are drained, one word of OutLanes sums per drain_select_i.
// Element (tap t, channel c of x, channel h of dz) is lane ((t * XChannels) + c) * Half + h; word k holds lanes k * OutLanes on.
`default_nettype none

module jb_predictor_lanes #(
  parameter int OutLanes  = 16,
  parameter int Half      = 8,   // channels of dz
  parameter int XChannels = 8    // channels of x per tap: OutLanes * 4 / Half
) (
  input  wire logic                    clk_i,
  input  wire logic                    clear_i,
  input  wire logic                    valid_i,     // x_i and g_i are a pixel
  input  wire logic                    end_i,       // with valid_i: last of a segment
  input  wire logic                    unsigned_i,  // x is 0..255
  input  wire logic [3*XChannels*8-1:0] x_i,
  input  wire logic [Half*10-1:0]      g_i,
  output      logic                    captured_o,  // pulse: the segment's sums can be drained from now on
  input  wire logic                    drain_step_i,
  input  wire logic [3:0]              drain_select_i,
  output      logic [OutLanes*18-1:0]  upper_o,     // in the cycle after drain_step_i
  output      logic [OutLanes*20-1:0]  lower_o
);
  localparam int Values = 3 * XChannels;
  localparam int Words = 12;

  logic [Values*4-1:0] x_q;
  logic [Half*12-1:0] single_q, triple_q, upper_double_q, upper_triple_q;
  logic valid_q, end_q, capture_q, captured_q;
  logic [Words*OutLanes*18-1:0] upper;
  logic [Words*OutLanes*20-1:0] lower;

  assign captured_o = captured_q;

  always_ff @(posedge clk_i) begin
    valid_q    <= valid_i && !clear_i;
    end_q      <= valid_i && end_i && !clear_i;
    capture_q  <= end_q && !clear_i;
    captured_q <= capture_q && !clear_i;
  end

  // Leading 4 bits of x, half up: x[7:4] + x[3], clamped to 15, or to +-7
  for (genvar v = 0; v < Values; v++) begin : gen_x
    logic [4:0] rounded;
    assign rounded = {x_i[8*v+7] && !unsigned_i, x_i[8*v+4+:4]} + 5'(x_i[8*v+3]);
    always_ff @(posedge clk_i) begin
      if (unsigned_i) x_q[4*v+:4] <= rounded[4] ? 4'd15 : rounded[3:0];
      else if (rounded == 5'b01000) x_q[4*v+:4] <= 4'b0111;
      else if (rounded == 5'b11000) x_q[4*v+:4] <= 4'b1001;
      else x_q[4*v+:4] <= rounded[3:0];
    end
  end

  for (genvar h = 0; h < Half; h++) begin : gen_g
    logic signed [11:0] g, triple;
    assign g      = 12'($signed(g_i[10*h+:10]));
    assign triple = (g <<< 1) + g;
    always_ff @(posedge clk_i) begin
      single_q[12*h+:12]       <= g;
      triple_q[12*h+:12]       <= triple;
      upper_double_q[12*h+:12] <= unsigned_i ? g <<< 1 : -(g <<< 1);
      upper_triple_q[12*h+:12] <= unsigned_i ? triple : -g;
    end
  end

  for (genvar v = 0; v < Values; v++) begin : gen_value
    for (genvar h = 0; h < Half; h++) begin : gen_lane
      jb_predictor_lane u_lane (
        .clk_i,
        .clear_i,
        .enable_i      (valid_q),
        .capture_i     (capture_q),
        .x_i           (x_q[4*v+:4]),
        .single_i      (single_q[12*h+:12]),
        .triple_i      (triple_q[12*h+:12]),
        .upper_double_i(upper_double_q[12*h+:12]),
        .upper_triple_i(upper_triple_q[12*h+:12]),
        .upper_o       (upper[(v*Half+h)*18+:18]),
        .lower_o       (lower[(v*Half+h)*20+:20])
      );
    end
  end

  // Word of the drain: four of a tap, then one of three taps, the others being held at zero
  localparam int Upper = OutLanes * 18;
  localparam int Lower = OutLanes * 20;
  logic [Upper-1:0] tap_upper_q[3];
  logic [Lower-1:0] tap_lower_q[3];

  for (genvar t = 0; t < 3; t++) begin : gen_drain
    logic [Upper-1:0] now_upper;
    logic [Lower-1:0] now_lower;

    always_comb begin
      unique case (drain_select_i[1:0])
        2'd0: now_upper = upper[(4*t+0)*Upper+:Upper];
        2'd1: now_upper = upper[(4*t+1)*Upper+:Upper];
        2'd2: now_upper = upper[(4*t+2)*Upper+:Upper];
        default: now_upper = upper[(4*t+3)*Upper+:Upper];
      endcase
      unique case (drain_select_i[1:0])
        2'd0: now_lower = lower[(4*t+0)*Lower+:Lower];
        2'd1: now_lower = lower[(4*t+1)*Lower+:Lower];
        2'd2: now_lower = lower[(4*t+2)*Lower+:Lower];
        default: now_lower = lower[(4*t+3)*Lower+:Lower];
      endcase
    end

    always_ff @(posedge clk_i) begin
      if (drain_step_i) begin
        if (drain_select_i[3:2] != 2'(t)) begin
          tap_upper_q[t] <= '0;
          tap_lower_q[t] <= '0;
        end else begin
          tap_upper_q[t] <= now_upper;
          tap_lower_q[t] <= now_lower;
        end
      end
    end
  end
  assign upper_o = tap_upper_q[0] | tap_upper_q[1] | tap_upper_q[2];
  assign lower_o = tap_lower_q[0] | tap_lower_q[1] | tap_lower_q[2];

  logic unused;
  assign unused = ^x_i;
endmodule

`default_nettype wire
