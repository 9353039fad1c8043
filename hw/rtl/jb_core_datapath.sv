// From operands to sums: the weights' stream, the array, the drain of a weight gradient's passes, and the partial sums. Operands come from
// the feature buffers, the pulses that lead them from jb_sequencer_pipeline (cycles of the array as there), passes from the scheduler.
// Sums are read by the output path (jb_psum).
`default_nettype none

module jb_core_datapath #(
  parameter int OutLanes  = 16,
  parameter int BankDepth = 512,
  parameter int PsumDepth = 1024
) (
  input  wire logic                         clk_i,
  input  wire logic                         rst_ni,
  // the tile
  input  wire logic [1023:0]                tile_i,
  input  wire logic                         forward_i,
  input  wire logic                         weight_gradient_i,
  // operands, in cycle 0 of the array
  input  wire logic [575:0]                 x_data_i,
  input  wire logic [255:0]                 g_data_i,
  input  wire logic                         odd_i,
  input  wire logic                         pixel_i,
  input  wire logic                         pixel_first_i,
  // weights
  input  wire logic                         w_valid_i,
  output      logic                         w_ready_o,
  input  wire logic [63:0]                  w_data_i,
  input  wire logic                         weights_start_i,
  output      logic                         weights_staged_o,
  input  wire logic                         weights_taken_i,
  input  wire logic                         weights_last_i,
  input  wire logic                         weights_over_i,
  input  wire logic                         weights_finished_i,
  input  wire logic                         swap_i,
  // passes of the weight gradient
  input  wire logic                         pass_load_i,       // pulse: what follows is copied
  input  wire logic [$clog2(PsumDepth)-1:0] pass_base_i,
  input  wire logic [1:0]                   pass_number_i,
  input  wire logic [36*OutLanes-1:0]       pass_tap_i,
  input  wire logic [24*OutLanes-1:0]       pass_lane_i,
  input  wire logic                         capture_i,         // cycle 4 of the array with a pass' last pixel
  input  wire logic                         step_valid_i,
  input  wire logic [7:0]                   step_i,
  input  wire logic [10*(OutLanes/4)-1:0]   step_record_i,
  output      logic                         drain_busy_o,
  // partial sums
  input  wire logic                         add_i,             // cycle 8 of the array
  input  wire logic [$clog2(PsumDepth)-1:0] add_address_i,
  input  wire logic                         fresh_i,
  input  wire logic                         initial_load_i,    // cycle 10 of the array
  input  wire logic                         initial_use_i,
  input  wire logic [1:0]                   read_half_i,
  input  wire logic [$clog2(PsumDepth)-1:0] read_address_i,
  input  wire logic [1:0]                   read_quad_i,
  output      logic [287:0]                 read_data_o
);
  localparam int PsumBits = $clog2(PsumDepth);
  localparam int Classes = OutLanes / 4;
  localparam int SumBits = 24 + $clog2(8 * BankDepth);  // a half of dz' buffer holds 8 * BankDepth pixels at most

  // ---- weights
  logic [12*OutLanes/8-1:0] weights_load;
  logic [22*OutLanes-1:0] chain;
  logic [48*OutLanes-1:0] initial_sums, initial_q;

  jb_array_weights #(
    .OutLanes(OutLanes)
  ) u_weights (
    .clk_i,
    .rst_ni,
    .start_i     (weights_start_i),
    .forward_i,
    .valid_i     (w_valid_i),
    .ready_o     (w_ready_o),
    .data_i      (w_data_i),
    .staged_o    (weights_staged_o),
    .taken_i     (weights_taken_i),
    .taken_last_i(weights_last_i),
    .over_i      (weights_over_i),
    .finished_i  (weights_finished_i),
    .load_o      (weights_load),
    .chain_o     (chain),
    .initial_o   (initial_sums)
  );

  always_ff @(posedge clk_i) begin
    if (initial_load_i) initial_q <= initial_use_i ? initial_sums : '0;
  end

  // ---- array
  logic [30*OutLanes-1:0] array_lower;
  logic [20*OutLanes-1:0] array_upper, upper_q;
  logic [OutLanes-1:0] array_carry, carry_q;
  logic [96*OutLanes-1:0] element;

  jb_array #(
    .OutLanes(OutLanes)
  ) u_array (
    .clk_i,
    .forward_i,
    .weight_gradient_i,
    .channels_i       (tile_i[jb_pkg::LANE_MODE_LSB]),
    .x_unsigned_i     (tile_i[jb_pkg::FLAGS_LSB+jb_pkg::FLAG_X_UNSIGNED]),
    .odd_i,
    .x_i              (x_data_i),
    .g_i              (g_data_i),
    .swap_i,
    .w_i              (w_data_i),
    .w_load_i         (weights_load),
    .chain_i          (chain),
    .pass_load_i,
    .pass_tap_i,
    .pass_lane_i,
    .pixel_i,
    .pixel_first_i,
    .shift_i          (capture_i),
    .lower_o          (array_lower),
    .upper_o          (array_upper),
    .carry_o          (array_carry),
    .element_o        (element)
  );

  // ---- the pass at work
  logic [1:0] pass_number_q;
  logic [PsumBits-1:0] pass_base_q;

  always_ff @(posedge clk_i) begin
    if (pass_load_i) begin
      pass_number_q <= pass_number_i;
      pass_base_q   <= pass_base_i;
    end
  end

  // ---- drain
  logic [OutLanes-1:0] drain_add;
  logic [Classes*PsumBits-1:0] drain_address;
  logic [SumBits*Classes-1:0] drain_sum;

  jb_dw_drain #(
    .OutLanes (OutLanes),
    .PsumDepth(PsumDepth),
    .SumBits  (SumBits)
  ) u_drain (
    .clk_i,
    .rst_ni,
    .step_valid_i,
    .step_i,
    .record_i    (step_record_i),
    .capture_i,
    .element_i   (element),
    .pass_i      (pass_number_q),
    .base_i      (pass_base_q),
    .kernel_w_i  (tile_i[jb_pkg::KERNEL_W_LSB+:3]),
    .busy_o      (drain_busy_o),
    .add_o       (drain_add),
    .address_o   (drain_address),
    .sum_o       (drain_sum)
  );

  // ---- partial sums
  logic [37*OutLanes-1:0] lower_q;

  always_ff @(posedge clk_i) begin
    for (int n = 0; n < OutLanes; n++) begin
      if (weight_gradient_i) lower_q[37*n+:37] <= 37'($signed(drain_sum[SumBits*(n/4)+:SumBits]));
      else lower_q[37*n+:37] <= 37'($signed(array_lower[30*n+:30]));
    end
    upper_q <= array_upper;
    carry_q <= array_carry;
  end

  jb_psum #(
    .OutLanes(OutLanes),
    .Depth   (PsumDepth)
  ) u_psum (
    .clk_i,
    .rst_ni,
    .packed_i      (forward_i),
    .add_i         (weight_gradient_i ? drain_add : {OutLanes{add_i}}),
    .fresh_i,
    .address_i     (weight_gradient_i ? drain_address : {Classes{add_address_i}}),
    .lower_i       (lower_q),
    .upper_i       (upper_q),
    .carry_i       (carry_q),
    .initial_i     (initial_q),
    .read_half_i,
    .read_address_i,
    .read_quad_i,
    .read_data_o
  );

  logic unused;
  assign unused = ^tile_i;
endmodule

`default_nettype wire
