// Empties the array after a pass of the weight gradient: copies all sums at once, then adds them to the accumulators slot
// by slot, in both halves of the lanes at the same time, while the next pass runs.
`default_nettype none

module jb_dw_drain #(
  parameter int OutLanes  = 16,
  parameter int PsumDepth = 1024
) (
  input  wire logic                          clk_i,
  input  wire logic                          rst_ni,
  input  wire logic                          capture_i,    // pulse: element_i is complete; not before busy_o has fallen
  input  wire logic [576*OutLanes-1:0]       element_i,
  // of the pass, with capture_i
  input  wire logic [42*OutLanes-1:0]        tap_i,
  input  wire logic [36*OutLanes-1:0]        lane_i,
  input  wire logic [12*OutLanes-1:0]        use_i,        // per multiplier
  input  wire logic [$clog2(PsumDepth)-1:0]  base_i,       // word of the window's first tap, channel 0
  input  wire logic [2:0]                    kernel_w_i,   // stable during a tile
  output      logic                          busy_o,
  // to the partial sums: request, and two cycles later what the operands' register takes
  output      logic [OutLanes-1:0]           add_o,
  output      logic [2*$clog2(PsumDepth)-1:0] address_o,
  output      logic [48*OutLanes-1:0]        sum_o
);
  localparam int AddressBits = $clog2(PsumDepth);
  localparam int Half = OutLanes < 8 ? OutLanes : 8;  // lanes of a half
  localparam int Halves = OutLanes / Half;
  localparam int LaneBits = $clog2(Half);
  localparam int HalfSlots = 6 * Half;
  localparam int CountBits = $clog2(HalfSlots);
  localparam int Places = 1 << CountBits;  // vectors are padded, so that no index needs a product

  logic busy_q;
  logic [2:0] tail_q;
  logic [CountBits-1:0] count_q, late1_q, late2_q, late3_q;
  logic [AddressBits-1:0] base_q;

  assign busy_o = busy_q || tail_q != '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q <= 1'b0;
    end else if (capture_i) begin
      busy_q <= 1'b1;
    end else if (count_q == CountBits'(HalfSlots - 1)) begin
      busy_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (capture_i || !busy_q) count_q <= '0;
    else count_q <= count_q + 1'b1;
    if (capture_i) base_q <= base_i;
    tail_q <= {tail_q[1:0], busy_q};
    // The sums go three cycles behind their addresses.
    late1_q <= count_q;
    late2_q <= late1_q;
    late3_q <= late2_q;
  end

  for (genvar h = 0; h < Halves; h++) begin : g_half
    logic [96*HalfSlots-1:0] sums_q;
    logic [7*HalfSlots-1:0] taps_q;
    logic [6*HalfSlots-1:0] lanes_q;
    logic [2*HalfSlots-1:0] uses_q;
    logic [128*Places-1:0] sums;
    logic [8*Places-1:0] taps, lanes;
    logic [2*Places-1:0] uses;
    logic [127:0] sum_here;
    logic [7:0] tap_here, lane_here;
    logic [6:0] tap_q;
    logic [5:0] lane_q;
    logic [1:0] use_q;
    logic [1:0] row;
    logic [AddressBits-1:0] place;
    logic [Half-1:0] first, second;
    logic [Half-1:0] second1_q, second2_q, second3_q;
    logic [95:0] pair_q;

    always_comb begin
      sums  = '0;
      taps  = '0;
      lanes = '0;
      uses  = '0;
      for (int n = 0; n < HalfSlots; n++) begin
        sums[128*n+:96] = sums_q[96*n+:96];
        taps[8*n+:7]    = taps_q[7*n+:7];
        lanes[8*n+:6]   = lanes_q[6*n+:6];
        uses[2*n+:2]    = uses_q[2*n+:2];
      end
      sum_here  = sums[128*late3_q+:128];
      tap_here  = taps[8*count_q+:8];
      lane_here = lanes[8*count_q+:8];
    end

    // row in the window (0..2) of tap / 8 = 3 * row + column
    always_comb begin
      if (tap_q[6:3] >= 4'd6) row = 2'd2;
      else if (tap_q[6:3] >= 4'd3) row = 2'd1;
      else row = 2'd0;
      unique case (row)
        2'd0: place = AddressBits'(tap_q[6:3]);
        2'd1: place = AddressBits'(tap_q[6:3]) - AddressBits'(3) + AddressBits'(kernel_w_i);
        default: place = AddressBits'(tap_q[6:3]) - AddressBits'(6) + AddressBits'({kernel_w_i, 1'b0});
      endcase
      for (int n = 0; n < Half; n++) begin
        first[n]  = use_q[0] && lane_q[LaneBits-1:0] == LaneBits'(n);
        second[n] = use_q[1] && lane_q[LaneBits+2:3] == LaneBits'(n);
      end
    end

    always_ff @(posedge clk_i) begin
      if (capture_i) begin
        sums_q  <= element_i[96*HalfSlots*h+:96*HalfSlots];
        taps_q  <= tap_i[7*HalfSlots*h+:7*HalfSlots];
        lanes_q <= lane_i[6*HalfSlots*h+:6*HalfSlots];
        uses_q  <= use_i[2*HalfSlots*h+:2*HalfSlots];
      end
      // cycle 1 of a slot: what it is; cycle 2: its request
      tap_q     <= tap_here[6:0];
      lane_q    <= lane_here[5:0];
      use_q     <= uses[2*count_q+:2];
      address_o[AddressBits*h+:AddressBits] <= base_q + (place << 3) + AddressBits'(tap_q[2:0]);
      second1_q <= second;
      second2_q <= second1_q;
      second3_q <= second2_q;
      // cycle 4: its two sums
      pair_q    <= sum_here[95:0];
    end

    logic busy1_q;

    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        busy1_q <= 1'b0;
        add_o[Half*h+:Half] <= '0;
      end else begin
        busy1_q <= busy_q;
        add_o[Half*h+:Half] <= busy1_q ? first | second : '0;
      end
    end

    logic unused;
    assign unused = ^{lane_q, sum_here, tap_here, lane_here};

    for (genvar n = 0; n < Half; n++) begin : g_lane
      assign sum_o[48*(Half*h+n)+:48] = second3_q[n] ? pair_q[95:48] : pair_q[47:0];
    end
  end

  if (Halves == 1) begin : g_one
    always_ff @(posedge clk_i) address_o[2*AddressBits-1:AddressBits] <= '0;  // as the other half is driven
  end
endmodule

`default_nettype wire
