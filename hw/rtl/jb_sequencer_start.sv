// When a step may start: it is prepared, the one before has made its requests and is far enough away, its weights are there, and there
// is room for its sums. Convolutions: the next start may come with the walk's last request. Weight gradients: a pass may
// start when the one before is empty of pixels and has been copied, and the array's sums have been added.
`default_nettype none

module jb_sequencer_start (
  input  wire logic clk_i,
  input  wire logic rst_ni,
  input  wire logic weight_gradient_i,
  input  wire logic wait_i,            // a step is prepared
  input  wire logic room_i,            // in the partial sums
  // the step before
  input  wire logic walk_active_i,
  input  wire logic walk_last_i,
  input  wire logic gap_i,             // its last pixel was just now
  // weights, and the pass
  input  wire logic weights_i,         // the step takes a group of weights
  input  wire logic weights_staged_i,  // one is there
  input  wire logic weights_taken_i,   // pulse: it has been taken by the step that claimed it
  input  wire logic pass_load_i,       // pulse: the pass has been copied
  output      logic pass_pending_o,    // it has not, since start_o
  output      logic start_o            // pulse
);
  localparam int ConvolutionSpace = 8;  // cycles between starts: a sum must be back before it is read again
  localparam int DrainSpace = 60;       // the array's sums must have been added: 48, one per cycle

  logic claimed_q, pending_q;
  logic [6:0] space_q;
  logic walking, weights_good, start_convolution, start_pass;

  assign walking           = walk_active_i && !walk_last_i;
  assign weights_good      = !weights_i || (weights_staged_i && !claimed_q);
  assign start_convolution = !weight_gradient_i && !walking && weights_good;
  assign start_pass        = weight_gradient_i && !walk_active_i && !gap_i && !pending_q;
  assign start_o           = wait_i && space_q == '0 && room_i && (start_convolution || start_pass);
  assign pass_pending_o    = pending_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      claimed_q <= 1'b0;
      pending_q <= 1'b0;
      space_q   <= '0;
    end else if (start_o) begin
      space_q   <= weight_gradient_i ? 7'(DrainSpace) : 7'(ConvolutionSpace);
      pending_q <= weight_gradient_i;
      if (weights_i) claimed_q <= 1'b1;
      else if (weights_taken_i) claimed_q <= 1'b0;
    end else begin
      if (space_q != '0) space_q <= space_q - 7'd1;
      if (weights_taken_i) claimed_q <= 1'b0;
      if (pass_load_i) pending_q <= 1'b0;
    end
  end
endmodule

`default_nettype wire
