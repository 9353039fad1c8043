// One register stage of a valid/ready stream that cuts both directions: no path from ready_i to ready_o or from valid_i
// to valid_o, and a transfer in every cycle. Proved in hw/formal.
`default_nettype none

module jb_skid #(
  parameter int Width = 32  // of the payload
) (
  input  wire logic             clk_i,
  input  wire logic             rst_ni,
  input  wire logic             valid_i,
  output      logic             ready_o,
  input  wire logic [Width-1:0] data_i,
  output      logic             valid_o,
  input  wire logic             ready_i,
  output      logic [Width-1:0] data_o
);
  logic [Width-1:0] data_q, spare_q;
  logic valid_q, spare_valid_q;

  assign ready_o = !spare_valid_q;
  assign valid_o = valid_q;
  assign data_o  = data_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q       <= 1'b0;
      spare_valid_q <= 1'b0;
    end else if (!valid_q || ready_i) begin
      valid_q       <= spare_valid_q || valid_i;
      spare_valid_q <= 1'b0;
    end else if (valid_i && ready_o) begin
      spare_valid_q <= 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!valid_q || ready_i) data_q <= spare_valid_q ? spare_q : data_i;
    if (ready_o) spare_q <= data_i;
  end

`ifdef JB_PROPERTIES
  `include "jb_skid_properties.svh"
`endif
endmodule

`default_nettype wire
