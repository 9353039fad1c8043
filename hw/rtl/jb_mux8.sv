// One of eight values, in two LUT6 and a slice's own MUXF7 per bit. Synthesis sees the primitive, everything else its text.
`default_nettype none

module jb_mux8 #(
  parameter int Width = 8
) (
  input  wire logic [8*Width-1:0] values_i,
  input  wire logic [2:0]         select_i,
  output      logic [Width-1:0]   value_o
);
  logic [Width-1:0] low, high;

  always_comb begin
    unique case (select_i[1:0])
      2'd0: {high, low} = {values_i[4*Width+:Width], values_i[0+:Width]};
      2'd1: {high, low} = {values_i[5*Width+:Width], values_i[1*Width+:Width]};
      2'd2: {high, low} = {values_i[6*Width+:Width], values_i[2*Width+:Width]};
      default: {high, low} = {values_i[7*Width+:Width], values_i[3*Width+:Width]};
    endcase
  end

`ifdef SYNTHESIS
  for (genvar n = 0; n < Width; n++) begin : g_bit
    MUXF7 u_mux (
      .I0(low[n]),
      .I1(high[n]),
      .S (select_i[2]),
      .O (value_o[n])
    );
  end
`else
  assign value_o = select_i[2] ? high : low;
`endif
endmodule

`default_nettype wire
